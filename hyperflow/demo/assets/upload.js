const MOST_PIXELS_A_SIDE = 560;
const area = element.querySelector(".drop");
const input = element.querySelector("input");
const canvas = element.querySelector("canvas");
const hint = element.querySelector(".drop span");
const problem = element.querySelector("[role=alert]");

const send = async (file) => {
  if (!file) return;
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    problem.hidden = false;
    return;
  }
  problem.hidden = true;
  const scale = Math.min(1, MOST_PIXELS_A_SIDE / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  canvas.hidden = false;
  hint.textContent = "Choose another, or drop one here";
  trigger("ask", { picture: canvas.toDataURL("image/png") });
};

input.addEventListener("change", () => {
  send(input.files[0]);
  input.value = "";
});
area.addEventListener("dragover", (event) => event.preventDefault());
area.addEventListener("drop", (event) => {
  event.preventDefault();
  send(event.dataTransfer.files[0]);
});
