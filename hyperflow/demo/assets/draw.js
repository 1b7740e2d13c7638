const canvas = element.querySelector("canvas");
const brush = canvas.getContext("2d", { willReadFrequently: true });
const tool = (name) => element.querySelector(`[name=${name}]`);
const before = [];
let drawing = false;

const wipe = () => {
  brush.fillStyle = "white";
  brush.fillRect(0, 0, canvas.width, canvas.height);
};

const place = (event) => {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
};

canvas.addEventListener("pointerdown", (event) => {
  before.push(brush.getImageData(0, 0, canvas.width, canvas.height));
  if (before.length > 30) before.shift();
  drawing = true;
  canvas.setPointerCapture(event.pointerId);
  const tone = tool("tone").value;
  brush.strokeStyle = tone.startsWith("#") ? tone : `rgb(${tone}, ${tone}, ${tone})`;
  brush.lineWidth = tool("brush").value;
  brush.lineCap = brush.lineJoin = "round";
  brush.beginPath();
  brush.moveTo(...place(event));
  brush.lineTo(...place(event));
  brush.stroke();
});

canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  brush.lineTo(...place(event));
  brush.stroke();
});

const finish = () => {
  if (!drawing) return;
  drawing = false;
  trigger("ask", { picture: canvas.toDataURL("image/png") });
};
canvas.addEventListener("pointerup", finish);
canvas.addEventListener("pointercancel", finish);

tool("undo").addEventListener("click", () => {
  if (before.length) brush.putImageData(before.pop(), 0, 0);
});
tool("clear").addEventListener("click", () => {
  before.length = 0;
  wipe();
});
wipe();
