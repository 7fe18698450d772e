"use strict";
// Points on a canvas. Every point is stamped into the picture's own bytes: 100,000 take
// some milliseconds, with or without a graphics card, and look the same everywhere.

// As in the plots: after P. Tol, "Colour Schemes", 2021; lighter where the page is dark.
const COLORS = {
  light: ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee7733", "#332288", "#7a4a21", "#55ddaa"],
  dark: ["#77aadd", "#ee6677", "#44aa55", "#ccbb44", "#66ccee", "#dd77aa", "#ee8844", "#9988ee", "#bb8855", "#55ddaa"],
};
const UNLABELED = { light: "#b4b4b4", dark: "#6a6f75" };
// Whether (x, y), both within -1 .. 1, y upward, is in a marker: ten of them.
const MARKERS = [
  (x, y) => x * x + y * y < 0.8,
  (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.75,
  (x, y) => y > -0.75 && 2 * Math.abs(x) < 0.95 - y,
  (x, y) => y < 0.75 && 2 * Math.abs(x) < 0.95 + y,
  (x, y) => Math.abs(x) + Math.abs(y) < 0.95,
  (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.32 && Math.max(Math.abs(x), Math.abs(y)) < 0.95,
  (x, y) => Math.abs(Math.abs(x) - Math.abs(y)) < 0.42 && Math.max(Math.abs(x), Math.abs(y)) < 0.9,
  (x, y) => x < 0.75 && 2 * Math.abs(y) < 0.95 + x,
  (x, y) => x > -0.75 && 2 * Math.abs(y) < 0.95 - x,
  (x, y) => { const r = x * x + y * y; return r < 0.9 && r > 0.3; },
];

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
function lookOf(code) {
  const theme = isDark() ? "dark" : "light";
  if (code < 0) return { color: UNLABELED[theme], marker: 0 };
  return { color: COLORS[theme][code % 10], marker: Math.floor(code / 10) % 10 };
}

function makeStamp(marker, radius) {
  // Coverage of each pixel, of 4 x 4 points in it, 0 .. 1.
  const half = Math.ceil(radius), side = 2 * half + 1, cover = new Float32Array(side * side);
  for (let j = 0; j < side; j++) for (let i = 0; i < side; i++) {
    let inside = 0;
    for (let b = 0; b < 4; b++) for (let a = 0; a < 4; a++)
      inside += MARKERS[marker]((i - half + (a - 1.5) / 4) / radius, (half - j - (b - 1.5) / 4) / radius);
    cover[j * side + i] = inside / 16;
  }
  return { half, side, cover };
}

class View {
  // Draws points x, y (0 .. 1), and says which one is where.
  constructor(canvas, x, y) {
    Object.assign(this, { canvas, x, y, scale: 1, left: 0, top: 0 });
    this.context = canvas.getContext("2d");
    // A grid of cells, each with its rows, for finding what is near.
    this.cells = 128;
    const start = new Uint32Array(this.cells * this.cells + 1);
    const cell = Uint32Array.from(x, (_, i) => this.cellOf(x[i], y[i]));
    for (const c of cell) start[c + 1]++;
    for (let c = 0; c < start.length - 1; c++) start[c + 1] += start[c];
    this.start = start;
    this.rows = new Uint32Array(x.length);
    const next = start.slice();
    cell.forEach((c, row) => { this.rows[next[c]++] = row; });
  }
  column(value) { return Math.min(this.cells - 1, Math.max(0, Math.floor(value * this.cells))); }
  cellOf(x, y) { return this.column(y) * this.cells + this.column(x); }
  resize() {
    const box = this.canvas.getBoundingClientRect();
    this.ratio = devicePixelRatio || 1;
    this.width = box.width; this.height = box.height;
    this.canvas.width = Math.max(1, Math.round(box.width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
  }
  fit() {
    let [a, b, c, d] = [1, 0, 1, 0];
    for (let i = 0; i < this.x.length; i++) {
      a = Math.min(a, this.x[i]); b = Math.max(b, this.x[i]); c = Math.min(c, this.y[i]); d = Math.max(d, this.y[i]);
    }
    const room = 36;
    const across = (this.width - 2 * room) / Math.max(b - a, 1e-9), up = (this.height - 2 * room) / Math.max(d - c, 1e-9);
    this.scale = this.whole = Math.max(1, Math.min(across, up, 1e6));
    this.center((a + b) / 2, (c + d) / 2);
  }
  center(x, y) { this.left = this.width / 2 - x * this.scale; this.top = this.height / 2 + y * this.scale; }
  zoom(factor, px, py) {
    const scale = Math.min(this.whole * 5000, Math.max(this.whole / 4, this.scale * factor)), f = scale / this.scale;
    this.left = px - (px - this.left) * f; this.top = py - (py - this.top) * f; this.scale = scale;
  }
  at(row) { return [this.left + this.x[row] * this.scale, this.top - this.y[row] * this.scale]; }
  radius() {
    const n = Math.max(1, this.x.length), base = Math.min(6, Math.max(2, 110 / Math.sqrt(n)));
    return Math.min(7, base * Math.sqrt(Math.sqrt(Math.max(1, this.scale / this.whole))));
  }
  near(px, py, within, shown) {
    const x = (px - this.left) / this.scale, y = (this.top - py) / this.scale, r = within / this.scale;
    let best = -1, least = r * r;
    for (let j = this.column(y - r); j <= this.column(y + r); j++)
      for (let i = this.column(x - r); i <= this.column(x + r); i++)
        for (let k = this.start[j * this.cells + i]; k < this.start[j * this.cells + i + 1]; k++) {
          const row = this.rows[k], d = (this.x[row] - x) ** 2 + (this.y[row] - y) ** 2;
          if (d <= least && shown[row]) { least = d; best = row; }
        }
    return best;
  }
  draw(order, codes, shown, faint) {
    const { width, height } = this.canvas, data = this.image.data, radius = this.radius() * this.ratio;
    data.fill(0);
    const looks = new Map();
    for (const row of order) {
      if (!shown[row]) continue;
      const cx = Math.round((this.left + this.x[row] * this.scale) * this.ratio);
      const cy = Math.round((this.top - this.y[row] * this.scale) * this.ratio);
      if (cx < -9 || cy < -9 || cx > width + 9 || cy > height + 9) continue;
      let look = looks.get(codes[row]);
      if (!look) {
        const { color, marker } = lookOf(codes[row]);
        const rgb = [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));
        looks.set(codes[row], (look = { rgb, ...makeStamp(marker, radius) }));
      }
      const { half, side, cover, rgb } = look, strength = faint && faint[row] ? 0.1 : 0.85;
      for (let j = 0; j < side; j++) {
        const py = cy + j - half;
        if (py < 0 || py >= height) continue;
        for (let i = 0; i < side; i++) {
          const px = cx + i - half, a = cover[j * side + i] * strength;
          if (!a || px < 0 || px >= width) continue;
          const p = 4 * (py * width + px);
          if (!data[p + 3]) { // nothing to mix with
            data[p] = rgb[0]; data[p + 1] = rgb[1]; data[p + 2] = rgb[2]; data[p + 3] = 255 * a;
            continue;
          }
          const below = (data[p + 3] / 255) * (1 - a), all = a + below;
          data[p] = (rgb[0] * a + data[p] * below) / all;
          data[p + 1] = (rgb[1] * a + data[p + 1] * below) / all;
          data[p + 2] = (rgb[2] * a + data[p + 2] * below) / all;
          data[p + 3] = 255 * all;
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}
