// The interactive map: points of two modalities, coloured by the number of abnormalities or by any label. No library, no network.
const data = JSON.parse(document.getElementById("points").textContent);
const canvas = document.getElementById("map"), context = canvas.getContext("2d"), tip = document.getElementById("tip");
const choose = (id) => document.getElementById(id);
const GROUPS = ["0", "1 to 3", "4 to 6", "7 to 9", "10 to 12", "13 or more"];
const COLOURS = ["#000000", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"], UNKNOWN = "#dddddd";
const LABELS = choose("colour").options.length - 1;
const isKnown = (row) => row.unknown.length < LABELS;
const group = (count) => count === 0 ? 0 : Math.min(5, 1 + Math.floor((count - 1) / 3));
const colour = (row) => {
  const label = choose("colour").value;
  if (label === "number") return isKnown(row) ? COLOURS[group(row.labels.length)] : UNKNOWN;
  return row.labels.includes(label) ? "#d55e00" : row.unknown.includes(label) ? UNKNOWN : "#56b4e9";
};
let drawn = [];
function draw() {
  const where = choose("projection").value, shown = choose("modality").value;
  context.clearRect(0, 0, canvas.width, canvas.height);
  drawn = [];
  for (const modality of ["image", "text"]) {
    if (shown !== "both" && shown !== modality) continue;
    data.rows.forEach((row, index) => {
      const [u, v] = data.places[where][modality][index];
      const x = 20 + u * (canvas.width - 40), y = canvas.height - 20 - v * (canvas.height - 40);
      context.fillStyle = context.strokeStyle = colour(row);
      context.globalAlpha = 0.7;
      context.beginPath();
      if (modality === "image") { context.arc(x, y, 3, 0, 7); context.fill(); } else { context.rect(x - 3, y - 3, 6, 6); context.stroke(); }
      drawn.push({x, y, row, modality});
    });
  }
  const label = choose("colour").value;
  const keys = label === "number" ? [...GROUPS.map((name, n) => [name, COLOURS[n]]), ["unknown", UNKNOWN]]
    : [["present", "#d55e00"], ["absent", "#56b4e9"], ["unknown", UNKNOWN]];
  choose("legend").replaceChildren(...keys.map(([name, shade]) => {
    const item = document.createElement("span");
    item.textContent = "● " + name + "  ";
    item.style.color = shade;
    return item;
  }));
}
canvas.addEventListener("mousemove", (event) => {
  const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
  let best = null, reach = 100;
  for (const point of drawn) {
    const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
    if (distance < reach) { best = point; reach = distance; }
  }
  tip.textContent = best ? `${best.row.name}, ${best.modality}: ${best.row.labels.join(", ") || (isKnown(best.row) ? "no abnormality" : "no label")}` : "Point at a dot.";
});
for (const id of ["projection", "modality", "colour"]) choose(id).addEventListener("change", draw);
draw();
