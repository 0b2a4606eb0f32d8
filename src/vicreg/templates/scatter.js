// One map: a canvas with the points, and one above it for rings, lassos and the pointer.
const REACH = 16; // pixels within which a point is under the pointer

class Scatter {
  constructor(explorer, space, index) {
    this.explorer = explorer;
    this.space = space;
    this.index = index;
    this.base = element("canvas", { "aria-hidden": "true" });
    this.over = element("canvas", {
      class: "over", tabindex: "0", role: "application", "aria-describedby": explorer.helpId,
    });
    this.tip = element("div", { class: "tip", role: "status" });
    this.tip.hidden = true;
    this.stage = element("div", { class: "stage" }, this.base, this.over, this.tip);
    this.score = element("span", { class: "soft" });
    this.element = element("figure", { class: "panel" },
      element("figcaption", {}, element("b", {}, space.name), this.score), this.stage);
    this.maps = {};
    this.drag = null;
    const on = (name, method) => this.over.addEventListener(name, (event) => method.call(this, event));
    on("pointerdown", this.press);
    on("pointermove", this.move);
    on("pointerup", this.release);
    on("pointercancel", () => { this.drag = null; this.drawOver(); });
    on("pointerleave", () => { if (!this.drag) this.explorer.hover(-1, null); });
    on("keydown", this.key);
    new ResizeObserver(() => this.resize()).observe(this.stage);
  }

  get points() {
    const kind = this.explorer.kind;
    if (!this.maps[kind]) this.maps[kind] = new Uint16Array(bytesOf(this.space.maps[kind]));
    return this.maps[kind];
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (!width || !height) return;
    Object.assign(this, { width, height });
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    this.place();
    this.draw();
  }

  // Screen coordinates of all points; the map keeps its proportions.
  place() {
    const points = this.points, n = points.length / 2, margin = 10;
    if (!this.x) { this.x = new Float32Array(n); this.y = new Float32Array(n); }
    let [left, right, low, high] = [ABSENT, 0, ABSENT, 0];
    for (let i = 0; i < n; i++) {
      const x = points[2 * i], y = points[2 * i + 1];
      if (x === ABSENT) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < low) low = y;
      if (y > high) high = y;
    }
    const scale = Math.min((this.width - 2 * margin) / (right - left || 1),
      (this.height - 2 * margin) / (high - low || 1));
    const dx = (this.width - scale * (right - left)) / 2, dy = (this.height - scale * (high - low)) / 2;
    for (let i = 0; i < n; i++) {
      const absent = points[2 * i] === ABSENT;
      this.x[i] = absent ? NaN : dx + scale * (points[2 * i] - left);
      this.y[i] = absent ? NaN : this.height - dy - scale * (points[2 * i + 1] - low);
    }
    this.size = n > 8000 ? 1.4 : n > 2500 ? 2 : 3;
  }

  draw() {
    if (!this.width) return;
    const context = this.base.getContext("2d");
    const { selected } = this.explorer;
    context.clearRect(0, 0, this.width, this.height);
    if (selected) {
      this.paths(context, () => cssColour("--faint"), (row) => !selected[row]);
      this.paths(context, (group) => group.colour, (row) => selected[row]);
    } else this.paths(context, (group) => group.colour, null);
    this.drawOver();
  }

  paths(context, colourOf, keep) {
    const r = this.size, { x, y } = this;
    context.lineWidth = r < 2 ? 1 : 1.25;
    for (const group of this.explorer.groups) {
      context.fillStyle = context.strokeStyle = colourOf(group);
      context.beginPath();
      for (const row of group.rows) {
        if (keep && !keep(row)) continue;
        const cx = x[row], cy = y[row];
        if (cx !== cx) continue;
        if (group.shape === "cross") {
          context.moveTo(cx - r, cy - r); context.lineTo(cx + r, cy + r);
          context.moveTo(cx - r, cy + r); context.lineTo(cx + r, cy - r);
        } else if (group.shape === "square") context.rect(cx - r, cy - r, 2 * r, 2 * r);
        else if (group.shape === "triangle") {
          context.moveTo(cx, cy - 1.3 * r); context.lineTo(cx + 1.3 * r, cy + r);
          context.lineTo(cx - 1.3 * r, cy + r); context.closePath();
        } else if (group.shape === "diamond") {
          context.moveTo(cx, cy - 1.4 * r); context.lineTo(cx + 1.4 * r, cy);
          context.lineTo(cx, cy + 1.4 * r); context.lineTo(cx - 1.4 * r, cy); context.closePath();
        } else if (r < 2) context.rect(cx - r, cy - r, 2 * r, 2 * r);
        else { context.moveTo(cx + r, cy); context.arc(cx, cy, r, 0, 2 * Math.PI); }
      }
      if (group.shape === "cross") context.stroke(); else context.fill();
    }
  }

  drawOver() {
    if (!this.width) return;
    const context = this.over.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    const { current } = this.explorer;
    if (current >= 0) {
      context.lineWidth = 1.5;
      context.strokeStyle = cssColour("--ink");
      for (const row of this.explorer.nearest(this.space, current)) this.ring(context, row, this.size + 2.5);
      context.lineWidth = 3;
      context.strokeStyle = cssColour("--focus");
      this.ring(context, current, this.size + 5);
    }
    if (this.drag && this.drag.path.length > 1) {
      context.lineWidth = 1.5;
      context.strokeStyle = cssColour("--ink");
      context.setLineDash([5, 4]);
      context.beginPath();
      this.outline().forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.stroke();
      context.setLineDash([]);
    }
  }

  ring(context, row, radius) {
    if (this.x[row] !== this.x[row]) return;
    context.beginPath();
    context.arc(this.x[row], this.y[row], radius, 0, 2 * Math.PI);
    context.stroke();
  }

  outline() {
    const { path } = this.drag;
    if (this.explorer.mode === "lasso") return path;
    const [[x1, y1], [x2, y2]] = [path[0], path[path.length - 1]];
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
  }

  at(event) {
    const box = this.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // The point nearest to a place, or -1 if none is within reach.
  under([px, py], reach = REACH) {
    let best = -1, least = reach * reach;
    for (let i = 0; i < this.x.length; i++) {
      const d = (this.x[i] - px) ** 2 + (this.y[i] - py) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  press(event) {
    if (event.button) return;
    const place = this.at(event);
    this.drag = { path: [place], start: place, far: false, add: event.shiftKey || event.ctrlKey };
    // A finger scrolls the page until a tool was chosen.
    this.drag.selects = event.pointerType !== "touch" || this.explorer.touch;
    try { this.over.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone */ }
  }

  move(event) {
    const place = this.at(event);
    if (!this.drag) { this.explorer.hover(this.under(place), this); return; }
    const [x, y] = this.drag.start;
    this.drag.far ||= Math.hypot(place[0] - x, place[1] - y) > 5;
    if (this.drag.far && this.drag.selects) {
      this.drag.path.push(place);
      this.drawOver();
    }
  }

  release(event) {
    const { drag } = this;
    if (!drag) return;
    if (drag.far && drag.selects) {
      const outline = this.outline();
      this.drag = null;
      this.explorer.select(this.inside(outline), drag.add);
    } else {
      this.drag = null;
      if (!drag.far) this.explorer.pin(this.under(this.at(event)), this);
    }
    this.drawOver();
  }

  // Rows inside a polygon, by the even-odd rule.
  inside(outline) {
    const found = new Uint8Array(this.x.length);
    const xs = outline.map((p) => p[0]), ys = outline.map((p) => p[1]), n = outline.length;
    const [left, right] = [Math.min(...xs), Math.max(...xs)], [top, bottom] = [Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < this.x.length; i++) {
      const x = this.x[i], y = this.y[i];
      if (!(x >= left && x <= right && y >= top && y <= bottom)) continue;
      let odd = false;
      for (let a = 0, b = n - 1; a < n; b = a++) {
        if ((ys[a] > y) !== (ys[b] > y) && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
      }
      if (odd) found[i] = 1;
    }
    return found;
  }

  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { explorer } = this;
    if (ways[event.key]) explorer.pin(this.next(ways[event.key]), this);
    else if (event.key === "Enter" || event.key === " ") explorer.toggle(explorer.current);
    else if (event.key === "Escape") explorer.clear();
    else return;
    event.preventDefault();
  }

  // The nearest point in a direction, sideways counted double.
  next([dx, dy]) {
    const from = this.explorer.current;
    const none = from < 0 || this.x[from] !== this.x[from];
    if (none) return this.under([this.width / 2, this.height / 2], Infinity);
    let best = from, least = Infinity;
    for (let i = 0; i < this.x.length; i++) {
      const ax = this.x[i] - this.x[from], ay = this.y[i] - this.y[from];
      const ahead = ax * dx + ay * dy, aside = Math.abs(ax * dy - ay * dx);
      if (ahead > 0.5 && ahead >= aside && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
    }
    return best;
  }

  showTip(row) {
    this.tip.hidden = row < 0 || this.x[row] !== this.x[row];
    if (this.tip.hidden) return;
    const told = element("div");
    told.textContent = this.explorer.tipLines(row).join("\n");
    this.tip.replaceChildren(told);
    Object.assign(this.tip.style, { left: "0", top: "0" }); // measured away from the right edge
    const [left, top] = this.roomFor(this.tip.offsetWidth, this.tip.offsetHeight, row);
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${top}px`;
  }

  // Where a box of a size covers the fewest of a row and its nearest: beside the row, or in a corner
  // of the part of the map that the window shows.
  roomFor(width, height, row) {
    const box = this.stage.getBoundingClientRect(), edge = 4, away = 14;
    const visible = document.documentElement;
    const [left, top] = [Math.max(edge, edge - box.left), Math.max(edge, edge - box.top)];
    const right = Math.max(left, Math.min(this.width, visible.clientWidth - box.left) - width - edge);
    const low = Math.max(top, Math.min(this.height, visible.clientHeight - box.top) - height - edge);
    const within = (value, from, to) => Math.min(Math.max(value, from), to);
    const [x, y] = [this.x[row], this.y[row]];
    const near = [row, row, ...this.explorer.nearest(this.space, row)]; // the row itself counts double
    let best = [left, top], least = Infinity;
    for (const [toLeft, toTop] of [
      [x + away, y + away], [x - away - width, y + away], [x + away, y - away - height],
      [x - away - width, y - away - height], [left, top], [right, top], [left, low], [right, low],
    ]) {
      const place = [within(toLeft, left, right), within(toTop, top, low)];
      const covered = near.filter((one) => this.x[one] > place[0] - edge && this.x[one] < place[0] + width + edge
        && this.y[one] > place[1] - edge && this.y[one] < place[1] + height + edge).length;
      if (covered < least) { least = covered; best = place; }
    }
    return best;
  }
}
