element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-index]");
  if (!button) return;
  element.querySelectorAll("[aria-pressed]").forEach((other) => other.removeAttribute("aria-pressed"));
  button.setAttribute("aria-pressed", "true");
  trigger("ask", { index: Number(button.dataset.index) });
});
