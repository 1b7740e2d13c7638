element.addEventListener("click", (event) => {
  const button = event.target.closest("[name=why]");
  if (!button) return;
  button.disabled = true;
  const { index } = button.dataset;
  trigger("explain", index === undefined ? { exact: element.querySelector("img").src } : { index: Number(index) });
});
