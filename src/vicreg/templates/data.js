// Reading what the page carries: typed arrays, columns, colours. Text is only ever set as text.
const PALETTES = {
  light: ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#1a1a1a", "#7a1f6b"],
  dark: ["#4a90e0", "#f0b429", "#00b887", "#e89ac8", "#e8591f", "#a5dcff", "#ffffff", "#7b4fe0"],
};
const SHAPES = ["circle", "square", "triangle", "diamond"];
// Eight colours in four shapes; what is rarer than the first 31 is "others".
const MOST_CLASSES = PALETTES.light.length * SHAPES.length - 1;
const RAMP = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115],
  [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]]; // cividis
// On a dark page cividis begins too near the background and rows that are not selected.
const RAMP_IN_DARK = [[58, 118, 200], [98, 138, 186], [134, 158, 168], [172, 181, 144], [212, 207, 108], [255, 238, 80]];
const RAMP_STEPS = 32;
const ABSENT = 65535;
const MISSING = -1;

const dark = () => document.documentElement.dataset.theme === "dark";
const paletteColour = (code) => {
  const palette = dark() ? PALETTES.dark : PALETTES.light;
  return palette[code % palette.length];
};
const shapeOf = (code) => SHAPES[Math.floor(code / PALETTES.light.length) % SHAPES.length];
const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function rampColour(share) {
  const ramp = dark() ? RAMP_IN_DARK : RAMP;
  const at = (dark() ? share : 0.94 * share) * (ramp.length - 1);
  const low = Math.min(Math.floor(at), ramp.length - 2);
  const mixed = ramp[low].map((value, i) => Math.round(value + (at - low) * (ramp[low + 1][i] - value)));
  return `rgb(${mixed.join(",")})`;
}

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes.buffer;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function figure(value) {
  if (value === null || !Number.isFinite(value)) return "missing";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isSafeInteger(value)) return String(value);
  return size >= 1e6 || size < 1e-3 ? value.toExponential(3) : String(Number(value.toPrecision(6)));
}

// A column, label or cluster that rows can be coloured by: classes by code, or numbers.
class Colour {
  constructor(told) {
    Object.assign(this, told);
    this.isNumber = told.kind === "number";
    if (this.isNumber) this.values = new (told.wide ? Float64Array : Float32Array)(bytesOf(told.values));
    else this.codes = new Uint16Array(bytesOf(told.codes));
  }

  // Whether a row has a class, or a number.
  has(row) {
    return this.isNumber ? Number.isFinite(this.values[row]) : this.names[this.codes[row]] !== "";
  }

  // What is said of a row that has none.
  get missing() { return this.none || "missing"; }

  text(row) {
    if (!this.has(row)) return this.missing;
    if (!this.isNumber) return this.names[this.codes[row]];
    return this.told(this.values[row], 16);
  }

  // A number or, of so many letters, a moment.
  told(value, letters = 10) {
    if (!this.date || !Number.isFinite(value)) return figure(value);
    return new Date(value * 1000).toISOString().slice(0, letters).replace("T", " ");
  }

  // Codes to draw by: classes by frequency, then "others"; numbers in steps; MISSING.
  steps() {
    if (this.cached) return this.cached;
    const n = this.isNumber ? this.values.length : this.codes.length;
    const codes = new Int16Array(n);
    if (this.isNumber) {
      const sorted = Array.from(this.values).filter(Number.isFinite).sort((a, b) => a - b);
      const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
      // A few far values would leave all others one colour.
      const [low, high] = sorted.length ? [at(0.01), at(0.99)] : [0, 1];
      const span = high - low || 1;
      for (let i = 0; i < n; i++) {
        const share = (this.values[i] - low) / span;
        codes[i] = Number.isFinite(share) ? Math.round(Math.min(1, Math.max(0, share)) * RAMP_STEPS) : MISSING;
      }
      this.cached = { codes, low, high };
    } else {
      const counts = new Uint32Array(this.names.length);
      for (let i = 0; i < n; i++) counts[this.codes[i]]++;
      const order = [...counts.keys()].filter((code) => counts[code] && this.names[code] !== "");
      order.sort((a, b) => counts[b] - counts[a] || a - b);
      const kept = order.slice(0, MOST_CLASSES).sort((a, b) => a - b);
      const place = new Int16Array(this.names.length).fill(kept.length);
      kept.forEach((code, i) => { place[code] = i; });
      const others = order.length > kept.length;
      for (let code = 0; code < this.names.length; code++) {
        if (this.names[code] === "") place[code] = MISSING;
      }
      for (let i = 0; i < n; i++) codes[i] = place[this.codes[i]];
      const classes = kept.map((code) => ({ name: this.names[code], count: counts[code] }));
      if (others) {
        const rest = order.slice(MOST_CLASSES);
        classes.push({
          name: `${rest.length} others`, others: true,
          count: rest.reduce((sum, code) => sum + counts[code], 0),
        });
      }
      this.cached = { codes, classes, others: others ? kept.length : -2 };
    }
    this.cached.missing = codes.reduce((count, code) => count + (code === MISSING ? 1 : 0), 0);
    return this.cached;
  }
}
