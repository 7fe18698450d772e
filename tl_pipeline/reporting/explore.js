"use strict";
const $ = (id) => document.getElementById(id);
// Text from data goes in as text only.
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}
const number = (n) => n.toLocaleString("en");
const state = { codes: [], names: [], hidden: new Set(), hover: -1, chosen: -1, near: [], frames: 0 };
let data, view, marks, lower;

const MODES = {
  target: () => [data.target, data.classes, "no label"],
  split: () => [data.split, data.splits, "no split"],
  prediction: () => [data.prediction, data.classes, "not predicted"],
  outcome: () => [data.prediction.map(outcomeOf), ["right", "wrong", "no label to compare"], "not predicted"],
};
const outcomeOf = (guess, row) => (guess < 0 ? -1 : data.target[row] < 0 ? 2 : guess === data.target[row] ? 0 : 1);

async function start() {
  const answer = await fetch("points.json");
  if (!answer.ok) throw new Error(await answer.text());
  data = await answer.json();
  document.title = `${data.dataset}, ${data.feature}`;
  $("title").textContent = `${data.feature} of ${data.dataset}`;
  const part = data.rows + data.failed < data.of ? `${number(data.rows)} of ${number(data.of)}` : number(data.rows);
  $("about").textContent = `${data.store}, ${part} rows, ${data.method}` + (data.averaged ? ", averaged over positions" : "") +
    (data.failed ? `, ${number(data.failed)} failed` : "") + (data.run ? `, run ${data.run}` : "");
  $("about").title = $("about").textContent;
  $("across").textContent = data.axes[0]; $("up").textContent = data.axes[1];
  for (const mode of Object.keys(MODES).slice(0, data.run ? 4 : 2)) {
    const option = make("option", mode === "outcome" ? "right or wrong" : mode);
    option.value = mode; $("color").append(option);
  }
  lower = data.id.map((id, row) => `${id}\n${nameOf(data.target[row])}`.toLowerCase());
  view = new View($("points"), Float32Array.from(data.x), Float32Array.from(data.y));
  marks = $("marks").getContext("2d");
  recolor(); resize(); view.fit(); redraw(); listen();
}
const nameOf = (code) => (code < 0 ? "" : data.classes[code]);

function recolor() {
  const [codes, names, none] = MODES[$("color").value]();
  Object.assign(state, { codes, names, none, hidden: new Set() });
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) || 0) + 1);
  // Few points lie on top of many, and those without a name below all.
  const rank = (code) => (code < 0 ? -Infinity : -counts.get(code));
  state.order = Uint32Array.from(codes.keys()).sort((a, b) => {
    const [p, q] = [codes[a], codes[b]];
    return p === q ? a - b : rank(p) === rank(q) ? p - q : rank(p) < rank(q) ? -1 : 1;
  });
  $("by").textContent = `by ${$("color").selectedOptions[0].textContent}`;
  state.listed = [...counts.keys()].sort((a, b) => (a < 0) - (b < 0) || a - b);
  $("legend").replaceChildren(...state.listed.map((code) => {
    const row = make("button", undefined, "row"), name = code < 0 ? none : names[code] || '""';
    row.append(swatch(code), make("span", name), make("small", number(counts.get(code))));
    row.title = name; row.dataset.code = code; row.setAttribute("aria-pressed", "true");
    row.onclick = () => { state.hidden.has(code) ? state.hidden.delete(code) : state.hidden.add(code); sift(); };
    return row;
  }));
  sift();
}

function swatch(code) {
  const { color, marker } = lookOf(code), canvas = make("canvas"), n = 28;
  canvas.width = canvas.height = n; canvas.style.cssText = "flex:none;width:14px;height:14px";
  const context = canvas.getContext("2d"); context.fillStyle = color;
  for (let j = 0; j < n; j++) for (let i = 0; i < n; i++)
    if (MARKERS[marker]((i + 0.5 - n / 2) / (n / 2), (n / 2 - j - 0.5) / (n / 2))) context.fillRect(i, j, 1, 1);
  return canvas;
}

function sift() {
  for (const row of $("legend").children)
    row.setAttribute("aria-pressed", String(!state.hidden.has(Number(row.dataset.code))));
  state.shown = Uint8Array.from(state.codes, (code) => !state.hidden.has(code));
  const wanted = $("search").value.trim().toLowerCase();
  state.faint = null; state.drawn = state.order;
  $("found").textContent = ""; $("results").replaceChildren();
  if (wanted) {
    state.faint = Uint8Array.from(lower, (text) => !text.includes(wanted));
    const hits = [...state.faint.keys()].filter((row) => !state.faint[row]);
    state.drawn = [...[...state.order].filter((row) => state.faint[row]), ...[...state.order].filter((row) => !state.faint[row])];
    $("found").textContent = `${number(hits.length)} found`;
    $("results").append(make("h2", hits.length > 50 ? "first 50 found" : "found"), ...hits.slice(0, 50).map((row) => entry(row)));
  }
  $("note").textContent = state.shown.includes(1) ? "" : "All classes are switched off; “all” brings them back.";
  redraw();
}

function entry(row, small) {
  const button = make("button", undefined, "row");
  button.append(swatch(state.codes[row]), make("span", data.id[row]), make("small", small ?? nameOf(data.target[row])));
  button.title = data.id[row]; button.dataset.row = row;
  button.onclick = () => { choose(row, true); };
  return button;
}

function describe(box, row) {
  const picture = make("div");
  box.replaceChildren(picture, make("div", data.id[row], "id"));
  box.dataset.row = row;
  box.append(make("div", data.target[row] < 0 ? "no label" : `target ${nameOf(data.target[row])}`), make("div", `split ${data.splits[data.split[row]]}`));
  if (data.run) {
    const guess = data.prediction[row], wrong = outcomeOf(guess, row) === 1;
    box.append(make("div", guess < 0 ? "not predicted" :
      `predicted ${nameOf(guess)}, ${(100 * data.probability[row]).toFixed(0)} %${wrong ? ": wrong" : ""}`, wrong ? "wrong" : ""));
  }
  load(picture, row);
}

async function load(box, row) {
  // Asked for when it is looked at, and no earlier.
  try {
    const answer = await fetch(`thumbnail/${row}`);
    if (!answer.ok) { box.replaceChildren(make("div", await answer.text(), "gone")); return; }
    if (answer.headers.get("Content-Type").startsWith("text/")) { box.replaceChildren(make("div", await answer.text(), "text")); return; }
    const image = make("img", undefined, "picture");
    image.alt = ""; image.src = URL.createObjectURL(await answer.blob());
    image.onload = () => { URL.revokeObjectURL(image.src); image.classList.toggle("large", image.naturalHeight > 64); };
    box.replaceChildren(image);
  } catch { box.replaceChildren(make("div", "The program that serves this page has ended.", "gone")); }
}

let waiting;
function hover(row) {
  if (row === state.hover) return;
  state.hover = row; clearTimeout(waiting);
  const tip = $("tip"); tip.hidden = row < 0;
  if (row >= 0) {
    tip.replaceChildren(make("div", data.id[row], "id"));
    waiting = setTimeout(() => { describe(tip, row); place(); }, 60); // not of all that the pointer crosses
    place();
  }
  redraw();
}
function place() {
  const [x, y] = view.at(state.hover), tip = $("tip"), height = Math.max(tip.offsetHeight, 230);
  tip.style.left = `${Math.max(4, x + 260 > view.width ? x - 254 : x + 14)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, view.height - height - 4))}px`;
}

async function choose(row, move) {
  Object.assign(state, { chosen: row, near: [] }); hover(-1);
  const box = $("chosen");
  if (row < 0) { box.replaceChildren(make("p", "Click a point for its nearest neighbors.", "soft")); redraw(); return; }
  const [px, py] = view.at(row);
  if (move && !(px > 0 && py > 0 && px < view.width && py < view.height)) view.center(view.x[row], view.y[row]);
  const one = make("div");
  box.replaceChildren(make("h2", "chosen"), one); describe(one, row); redraw();
  try {
    const answer = await fetch(`neighbors/${row}`);
    if (!answer.ok || state.chosen !== row) return;
    state.near = await answer.json();
  } catch { return; }
  if (state.chosen !== row) return;
  box.append(make("h2", `nearest of the ${number(data.rows)} shown, by cosine`),
    ...state.near.map((one) => entry(one.row, one.similarity.toFixed(3))));
  redraw();
}

let asked = false;
function redraw() { if (!asked && view && view.image) { asked = true; requestAnimationFrame(paint); } }
function paint() {
  asked = false; state.frames++;
  view.draw(state.drawn, state.codes, state.shown, state.faint);
  const ratio = view.ratio, ring = (row, radius, width) => {
    const [x, y] = view.at(row); marks.beginPath(); marks.lineWidth = width; marks.arc(x, y, radius, 0, 7); marks.stroke();
  };
  marks.setTransform(ratio, 0, 0, ratio, 0, 0); marks.clearRect(0, 0, view.width, view.height);
  marks.strokeStyle = getComputedStyle(document.body).color;
  for (const one of state.near) ring(one.row, view.radius() + 3, 1);
  if (state.chosen >= 0) ring(state.chosen, view.radius() + 5, 2.5);
  if (state.hover >= 0) ring(state.hover, view.radius() + 3, 2);
}
function resize() { view.resize(); $("marks").width = view.canvas.width; $("marks").height = view.canvas.height; }

function listen() {
  const canvas = $("marks"); let held = null;
  const find = (event) => view.near(event.offsetX, event.offsetY, view.radius() + 8, state.shown);
  new ResizeObserver(() => { const wide = view.width; resize(); wide ? redraw() : (view.fit(), redraw()); }).observe($("plot"));
  canvas.onpointerdown = (event) => { held = [event.offsetX, event.offsetY, 0]; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointermove = (event) => {
    if (!held) { hover(find(event)); return; }
    const [dx, dy] = [event.offsetX - held[0], event.offsetY - held[1]];
    held = [event.offsetX, event.offsetY, held[2] + Math.abs(dx) + Math.abs(dy)];
    if (held[2] > 3) { view.left += dx; view.top += dy; hover(-1); redraw(); }
  };
  canvas.onpointerup = (event) => { if (held && held[2] <= 3) choose(find(event)); held = null; };
  canvas.onpointercancel = () => { held = null; };
  canvas.onpointerleave = () => hover(-1);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault(); view.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY); hover(-1); redraw();
  }, { passive: false });
  const STEPS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  canvas.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (step && event.shiftKey) stepTo(-step[0], -step[1]);
    else if (step) { view.left += 60 * step[0]; view.top += 60 * step[1]; }
    else if (event.key === "+" || event.key === "=") view.zoom(1.4, view.width / 2, view.height / 2);
    else if (event.key === "-") view.zoom(1 / 1.4, view.width / 2, view.height / 2);
    else if (event.key === "0") view.fit();
    else if (event.key === "Enter") choose(view.near(view.width / 2, view.height / 2, 1e4, state.shown));
    else return;
    event.preventDefault(); redraw();
  };
  addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== $("search")) { event.preventDefault(); $("search").focus(); }
    if (event.key === "Escape") { $("search").value = ""; sift(); choose(-1); }
  });
  $("search").oninput = sift; $("color").onchange = recolor;
  $("fit").onclick = () => { view.fit(); redraw(); };
  $("all").onclick = () => { state.hidden.clear(); sift(); };
  $("none").onclick = () => { state.hidden = new Set(state.listed); sift(); };
  matchMedia("(prefers-color-scheme: dark)").onchange = () => {
    [...$("legend").children].forEach((row) => row.firstChild.replaceWith(swatch(Number(row.dataset.code)))); redraw();
  };
}

function stepTo(dx, dy) {
  // To the nearest point that lies within 45 degrees of that direction.
  if (state.chosen < 0) { choose(view.near(view.width / 2, view.height / 2, 1e4, state.shown)); return; }
  const [x, y] = view.at(state.chosen); let best = -1, least = Infinity;
  for (let row = 0; row < data.id.length; row++) {
    const [px, py] = view.at(row), ahead = (px - x) * dx + (py - y) * dy, aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (state.shown[row] && ahead > 0 && aside <= ahead && ahead + aside < least) { least = ahead + aside; best = row; }
  }
  if (best >= 0) choose(best, true);
}

start().catch((error) => { $("note").textContent = String(error.message || error); });
