// Curves as SVG: a title, axes with numbers, and the values under the pointer in words.
const WIDTH = 420, HEIGHT = 240, SIDE = { left: 48, right: 10, top: 8, bottom: 34 };

const STYLES = { vicreg: 1, raw: 2, pca: 3 };

function ticks(low, high, count = 4) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-9 * step; at += step) found.push(Math.abs(at) < step / 1e6 ? 0 : at);
  return found;
}

function powers(low, high) {
  const found = [];
  const every = Math.max(1, Math.ceil((Math.log10(high) - Math.log10(low)) / 5));
  for (let p = Math.ceil(Math.log10(low)); p <= Math.log10(high) + 1e-9; p += every) found.push(10 ** p);
  if (found.length > 2) return found;
  const finer = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
    finer.push(...[1, 2, 5].map((m) => m * 10 ** p).filter((at) => at >= low && at <= high));
  }
  return finer.length > 1 ? finer : ticks(low, high).filter((at) => at > 0);
}

function short(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(0);
  return String(Number(value.toPrecision(3)));
}

// series: [{name, x, y}], null where there is no value
function chart({ title, label, series, note = "", logX = false, logY = false, fromZero = false }) {
  const shown = series.map((one, i) => ({ ...one, className: `k${one.style ?? i + 1}`, points: one.x.map((x, j) => [x, one.y[j]])
    .filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && y !== null && (!logY || y > 0) && (!logX || x > 0)) }))
    .filter((one) => one.points.length);
  const box = element("figure", { class: "chart" }, element("h4", {}, title));
  if (!shown.length) {
    box.append(element("p", { class: "small soft" }, "nothing was recorded"));
    return box;
  }
  const all = shown.flatMap((one) => one.points);
  const range = (values, log) => {
    let low = Infinity, high = -Infinity;
    for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
    if (low === high) return log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    return [low, high];
  };
  const [x0, x1] = range(all.map((p) => p[0]), logX);
  let [y0, y1] = range(all.map((p) => p[1]), logY);
  if (fromZero) y0 = Math.min(0, y0);
  else if (!logY) { const pad = 0.05 * (y1 - y0); y0 -= pad; y1 += pad; }
  const scale = (low, high, from, to, log) => {
    const f = log ? Math.log10 : (v) => v;
    return (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
  };
  const sx = scale(x0, x1, SIDE.left, WIDTH - SIDE.right, logX), sy = scale(y0, y1, HEIGHT - SIDE.bottom, SIDE.top, logY);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${title}: ${shown.map((one) => `${one.name} from ${short(one.points[0][1])} to ${short(one.points.at(-1)[1])}`).join("; ")}` });
  for (const at of logY ? powers(y0, y1) : ticks(y0, y1)) {
    svg.append(drawn("line", { class: "axis", x1: SIDE.left, x2: WIDTH - SIDE.right, y1: sy(at), y2: sy(at) }),
      drawn("text", { x: SIDE.left - 6, y: sy(at) + 4, "text-anchor": "end" }, short(at)));
  }
  for (const at of logX ? powers(x0, x1) : ticks(x0, x1)) {
    svg.append(drawn("text", { x: sx(at), y: HEIGHT - SIDE.bottom + 15, "text-anchor": "middle" }, short(at)));
  }
  svg.append(drawn("text", { x: (SIDE.left + WIDTH - SIDE.right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, label));
  for (const one of shown) {
    svg.append(drawn("path", { class: one.className, d: one.points.map(([x, y], i) => `${i ? "L" : "M"}${sx(x).toFixed(1)} ${sy(y).toFixed(1)}`).join("") }));
  }
  const cursor = drawn("line", { class: "cursor", y1: SIDE.top, y2: HEIGHT - SIDE.bottom, visibility: "hidden" });
  svg.append(cursor);
  const keys = element("div", { class: "keys" });
  const tell = (at) => keys.replaceChildren(...shown.map((one) => {
    let text = one.name;
    if (at !== null) {
      const near = one.points.reduce((a, b) => (Math.abs(sx(b[0]) - at) < Math.abs(sx(a[0]) - at) ? b : a));
      text += ` ${figure(near[1])} at ${figure(near[0])}`;
    }
    return element("span", {}, drawn("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" },
      drawn("path", { class: one.className, d: "M0 4H22" })), text);
  }));
  tell(null);
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const at = ((event.clientX - frame.left) / frame.width) * WIDTH;
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    tell(at);
  });
  svg.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(null); });
  box.append(svg, keys);
  if (note) box.append(element("p", { class: "small soft" }, note));
  return box;
}

function historyCharts(history) {
  const x = history.step;
  const curve = (names, told = names) => names.map((name, i) => ({ name: told[i], x, y: history[name] }));
  return [
    chart({ title: "Loss", label: "step", logY: true, series: curve(["total", "held_out"], ["training", "held out"]),
      note: "Held out: rows that the fit does not learn from, in the same two views every time (training rows where none are held out)." }),
    chart({ title: "Terms of the loss, not weighted", label: "step", logY: true, series: curve(["invariance", "variance", "covariance"]) }),
    chart({ title: "Effective rank of the learnt components", label: "step", fromZero: true, series: curve(["effective_rank"], ["effective rank"]),
      note: "The scores have that of the whole embedding." }),
  ];
}

function spectrumCharts(told) {
  const curves = (values, share) => told.spaces.map((space) => {
    const own = values[space.key], sum = own.reduce((a, b) => a + b, 0) || 1;
    return { name: space.name, style: STYLES[space.key], x: own.map((_, i) => i + 1), y: own.map((v) => (share ? v / sum : v)) };
  });
  const cut = told.spaces.filter(({ key }) => told.deviations[key].length < told.widths[key])
    .map(({ key, name }) => `Of the ${name}: the largest ${told.deviations[key].length} of ${told.widths[key]}.`);
  return [
    chart({ title: "Eigenvalues of the covariance, shares", label: "number", logX: true, logY: true,
      series: curves(told.spectra, true).map((one) => ({ ...one, y: one.y.map((v) => (v > 1e-7 ? v : NaN)) })) }),
    chart({ title: "Standard deviations of the dimensions", label: "dimension, by size", fromZero: true, series: curves(told.deviations, false), note: cut.join(" ") }),
  ];
}
