"use strict";
const rows = JSON.parse(document.getElementById("rows").textContent);
const list = document.getElementById("cards");
const template = document.getElementById("card");
const count = document.getElementById("count");
const words = { all: "all", done: "done", copied: "copied", skipped: "already done", failed: "failed" };

function figures(row) {
  const parts = [];
  if (row.width) parts.push(`${row.width} × ${row.height}`);
  if (row.total) parts.push(`${Math.round(row.total)} ms`);
  if (row.mean !== null) parts.push(`ΔL* mean ${row.mean.toFixed(2)}, max ${row.max.toFixed(2)}`);
  if (row.clipped) parts.push(`colour reduced in ${(100 * row.clipped).toFixed(1)} %`);
  return parts.join(" · ");
}

function text(node, content) {
  node.textContent = content;
  node.hidden = !content;
}

function card(row, number) {
  const item = template.content.firstElementChild.cloneNode(true);
  const part = (selector) => item.querySelector(selector);
  item.classList.add(row.status);
  part("h3").textContent = row.name;
  part("h3").title = row.path;
  part(".badge").textContent = words[row.status];
  part(".figures").textContent = figures(row);
  text(part(".reason"), row.reason);
  text(part(".where"), row.output !== row.name && row.output ? `→ ${row.output}` : "");
  part(".where").title = row.outputPath;
  for (const note of row.notes) part(".notes").appendChild(document.createElement("li")).textContent = note;
  part(".notes").hidden = !row.notes.length;
  if (row.thumbnails) compare(item, row, number);
  else part("figure").remove();
  return item;
}

function compare(item, row, number) {
  const [figure, pair, range, label] = ["figure", ".pair", "input", "label"].map((selector) => item.querySelector(selector));
  figure.hidden = false;
  pair.style.aspectRatio = `${row.across} / ${row.down}`;
  pair.classList.toggle("tall", 3 * row.across < 4 * row.down);
  pair.querySelector(".before").alt = `before: ${row.name}`;
  pair.querySelector(".after").alt = `after: ${row.name}`;
  range.id = `range-${number}`;
  label.htmlFor = range.id;
  label.textContent = `Line between before and after, ${row.name}`;
  const show = () => {
    pair.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % before, ${100 - range.value} % after`);
  };
  range.addEventListener("input", show);
  show();
  const follow = (event) => {
    const box = pair.getBoundingClientRect();
    range.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    show();
  };
  pair.addEventListener("pointerdown", (event) => {
    pair.setPointerCapture(event.pointerId);
    follow(event);
  });
  pair.addEventListener("pointermove", (event) => {
    if (pair.hasPointerCapture(event.pointerId)) follow(event);
  });
}

// Pictures are decoded only while they are near the window.
const nearby = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const images = target.querySelectorAll("img");
    if (!isIntersecting) {
      for (const image of images) image.removeAttribute("src");
      continue;
    }
    const pair = JSON.parse(document.getElementById(`t${numbers.get(target)}`).textContent);
    images.forEach((image, index) => { image.src = `data:image/webp;base64,${pair[index]}`; });
  }
}, { rootMargin: "800px 0px" });

const items = rows.map(card);
const numbers = new Map(items.map((item, number) => [item, number]));
list.append(...items);
items.forEach((item, number) => { if (rows[number].thumbnails) nearby.observe(item); });

const sorts = {
  order: (a, b) => a - b,
  name: (a, b) => rows[a].name.localeCompare(rows[b].name, "en", { numeric: true }),
  status: (a, b) => rows[a].status.localeCompare(rows[b].status, "en"),
  slowest: (a, b) => rows[b].total - rows[a].total,
  lightness: (a, b) => (rows[b].max ?? -1) - (rows[a].max ?? -1),
  largest: (a, b) => rows[b].width * rows[b].height - rows[a].width * rows[a].height,
};

function filter() {
  const status = document.querySelector("#choices input:checked").value;
  const part = document.getElementById("search").value.toLowerCase();
  let shown = 0;
  rows.forEach((row, number) => {
    const fits = (status === "all" || row.status === status) && row.name.toLowerCase().includes(part);
    items[number].hidden = !fits;
    shown += fits;
  });
  count.textContent = `${shown} of ${rows.length} pictures shown`;
}

function sort() {
  const how = sorts[document.getElementById("sort").value];
  list.append(...rows.map((_, number) => number).sort((a, b) => how(a, b) || a - b).map((number) => items[number]));
}

for (const status of Object.keys(words)) {
  const many = status === "all" ? rows.length : rows.filter((row) => row.status === status).length;
  if (!many && status !== "all") continue;
  const label = document.getElementById("choices").appendChild(document.createElement("label"));
  const input = label.appendChild(document.createElement("input"));
  Object.assign(input, { type: "radio", name: "status", value: status, checked: status === "all" });
  label.append(`${words[status]} ${many}`);
}
const controls = document.getElementById("controls");
controls.hidden = false;
controls.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("choices").addEventListener("change", filter);
document.getElementById("search").addEventListener("input", filter);
document.getElementById("sort").addEventListener("change", sort);
filter();
