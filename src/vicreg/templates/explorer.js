// The maps of one table side by side, with what is shared by them: colours, selection, one row.
let explorers = 0;

class Explorer {
  constructor(place, told) {
    this.place = place;
    this.told = told;
    this.number = ++explorers;
    this.helpId = `help-${this.number}`;
    this.colours = told.colours.map((one) => new Colour(one));
    this.colour = this.colours[0];
    this.kind = told.kinds.includes("t-SNE") ? "t-SNE" : told.kinds[0];
    this.mode = "box";
    this.touch = false;
    this.selected = null;
    this.chosen = new Set(); // codes of the legend that the selection is of
    this.hovered = -1;
    this.pinned = -1;
    this.near = {};
    this.build();
    this.recolour();
  }

  get current() { return this.hovered >= 0 ? this.hovered : this.pinned; }

  nearest(space, row) {
    const { key, count } = space;
    this.near[key] ??= new Uint16Array(bytesOf(space.neighbours));
    return this.near[key].subarray(row * count, (row + 1) * count);
  }

  build() {
    const { told } = this;
    const choice = (label, options, chosen, change) => {
      const select = element("select", { onchange: (event) => change(event.target.value) },
        ...options.map(([value, text]) => element("option", { value }, text)));
      select.value = chosen;
      return element("label", {}, label, select);
    };
    const tool = (mode, text) => element("button", {
      type: "button", "data-mode": mode, "aria-pressed": String(mode === this.mode),
      onclick: () => this.setMode(mode),
    }, text);
    this.search = element("input", {
      type: "search", autocomplete: "off", placeholder: "id or row number", oninput: () => this.find(),
    });
    // A press must not take the focus away first, which would close the list before the click.
    this.hits = element("ul", { onmousedown: (event) => event.preventDefault() });
    this.clearButton = element("button", { type: "button", onclick: () => this.clear() }, "Clear");
    this.tools = element("fieldset", {}, element("legend", {}, "Select by"), tool("box", "Box"),
      tool("lasso", "Lasso"), this.clearButton);
    const controls = element("div", { class: "controls" },
      choice("Map", told.kinds.map((one) => [one, one]), this.kind, (kind) => this.setKind(kind)),
      choice("Colour by", this.colours.map((one, i) => [String(i), one.name]), "0", (i) => this.setColour(+i)),
      element("div", {
        class: "find", onkeydown: (event) => this.walkHits(event),
        onfocusout: (event) => { if (!event.currentTarget.contains(event.relatedTarget)) this.closeHits(); },
      }, element("label", {}, "Find a row", this.search), this.hits),
      this.tools);
    const help = element("p", { class: "hidden", id: this.helpId },
      "Arrow keys go from row to row, Enter adds the row to the selection, Escape clears.");
    this.panels = told.spaces.map((space, i) => new Scatter(this, space, i));
    this.legend = element("ul", { class: "legend", "aria-label": "Legend: choose a value to select its rows" });
    this.summary = element("div", { class: "box selection", "aria-live": "polite" });
    this.detail = element("div", { class: "box detail" });
    this.place.append(controls, help,
      element("div", { class: "panels" }, ...this.panels.map((panel) => panel.element)), this.legend,
      element("div", { class: "told" }, this.summary, this.detail));
    this.tellSelection();
    this.tellRow();
  }

  setMode(mode) {
    this.mode = mode;
    this.touch = true;
    this.place.classList.add("touch");
    for (const button of this.tools.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
  }

  setKind(kind) {
    this.kind = kind;
    for (const panel of this.panels) { panel.place(); panel.draw(); }
    this.caption();
  }

  setColour(index) {
    this.colour = this.colours[index];
    this.chosen.clear();
    this.recolour();
    this.tellSelection();
  }

  // Rows in the order in which they are drawn, group by group of one colour and shape.
  recolour() {
    const steps = this.colour.steps(), lists = new Map();
    for (let row = 0; row < steps.codes.length; row++) {
      const code = steps.codes[row];
      if (!lists.has(code)) lists.set(code, []);
      lists.get(code).push(row);
    }
    this.groups = [...lists.entries()].sort((a, b) => a[0] - b[0]).map(([code, rows]) => ({
      rows: Uint16Array.from(rows), code, colour: this.colourOf(code),
      shape: this.shapeOf(code),
    }));
    this.tellLegend();
    this.caption();
    this.redraw();
  }

  colourOf(code) {
    const { others } = this.colour.steps();
    if (code === MISSING || code === others) return cssColour("--soft");
    return this.colour.isNumber ? rampColour(code / RAMP_STEPS) : paletteColour(code);
  }

  shapeOf(code) {
    if (code === MISSING) return "cross";
    return this.colour.isNumber || code === this.colour.steps().others ? "circle" : shapeOf(code);
  }

  redraw() { for (const panel of this.panels) panel.draw(); }

  caption() {
    for (const panel of this.panels) {
      const score = panel.space.silhouettes?.[this.kind];
      const known = this.colour === this.colours[0] && Number.isFinite(score);
      panel.score.textContent = known ? `silhouette of this map ${score.toFixed(2)}` : "";
      panel.over.setAttribute("aria-label",
        `${this.kind} map of ${panel.space.name}, ${this.told.n} rows, coloured by ${this.colour.name}`);
    }
  }

  tellLegend() {
    const steps = this.colour.steps();
    if (this.colour.isNumber) {
      const id = `ramp-${this.number}`;
      const stops = Array.from({ length: 9 }, (_, i) => drawn("stop", { offset: i / 8, "stop-color": rampColour(i / 8) }));
      const text = (value) => this.colour.told(value);
      this.legend.replaceChildren(element("li", { class: "scale" }, text(steps.low),
        drawn("svg", { class: "ramp", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
          drawn("defs", {}, drawn("linearGradient", { id }, ...stops)),
          drawn("rect", { width: 100, height: 10, fill: `url(#${id})` })), text(steps.high),
        element("span", { class: "soft" }, "1st to 99th percentile")));
    } else this.legend.replaceChildren(...steps.classes.map((one, code) => this.legendEntry(code, one.name, one.count)));
    if (steps.missing) this.legend.append(this.legendEntry(MISSING, this.colour.missing, steps.missing));
    this.tellChosen();
  }

  legendEntry(code, name, count) {
    return element("li", {}, element("button", {
      type: "button", "data-code": code, title: name, onclick: (event) => this.selectClass(code, event),
    }, this.swatch(code), element("span", { class: "word" }, name), element("span", { class: "soft" }, String(count))));
  }

  tellChosen() {
    for (const one of this.legend.querySelectorAll("[data-code]")) {
      one.setAttribute("aria-pressed", String(this.chosen.has(Number(one.dataset.code))));
    }
  }

  swatch(code) {
    const fill = this.colourOf(code), shape = this.shapeOf(code);
    const marks = {
      cross: () => drawn("path", { d: "M1.5 1.5L10.5 10.5M1.5 10.5L10.5 1.5", stroke: fill, "stroke-width": 2 }),
      circle: () => drawn("circle", { cx: 6, cy: 6, r: 5, fill }),
      square: () => drawn("rect", { x: 1, y: 1, width: 10, height: 10, fill }),
      triangle: () => drawn("path", { d: "M6 0L12 11H0Z", fill }),
      diamond: () => drawn("path", { d: "M6 0L12 6L6 12L0 6Z", fill }),
    };
    return drawn("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, marks[shape]());
  }

  selectClass(code, event) {
    if (this.chosen.has(code)) {
      this.clear();
      return;
    }
    const found = Uint8Array.from(this.colour.steps().codes, (one) => (one === code ? 1 : 0));
    this.select(found, event.shiftKey || event.ctrlKey, code);
  }

  select(found, add = false, code = null) {
    if (add && this.selected) for (let i = 0; i < found.length; i++) found[i] |= this.selected[i];
    this.selected = found.includes(1) ? found : null;
    if (!add) this.chosen.clear();
    if (code !== null) this.chosen.add(code);
    this.tellChosen();
    this.tellSelection();
    this.redraw();
  }

  toggle(row) {
    if (row < 0) return;
    const found = this.selected ? this.selected.slice() : new Uint8Array(this.told.n);
    found[row] ^= 1;
    this.select(found);
  }

  clear() {
    this.search.value = "";
    this.closeHits();
    this.pin(-1);
    this.select(new Uint8Array(this.told.n));
  }

  hover(row, panel) {
    if (row === this.hovered) return;
    this.hovered = row;
    for (const one of this.panels) { one.showTip(one === panel ? row : -1); one.drawOver(); }
    if (row >= 0) this.tellRow();
  }

  pin(row, panel = null) {
    this.pinned = row;
    this.hovered = -1;
    for (const one of this.panels) { one.showTip(one === panel ? row : -1); one.drawOver(); }
    this.tellRow();
  }

  find() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = [];
    if (wanted) {
      for (const exact of [true, false]) {
        for (let row = 0; row < this.told.n && found.length < 12; row++) {
          const id = this.told.ids[row].toLowerCase();
          const same = id === wanted || String(this.told.rows[row]) === wanted;
          if (exact ? same : !same && id.includes(wanted)) found.push(row);
        }
      }
    }
    this.hits.replaceChildren(...found.map((row) => element("li", {}, element("button", {
      type: "button", onclick: () => { this.search.focus(); this.closeHits(); this.pin(row); },
    }, this.nameOf(row)))));
    if (!wanted || found.length) return;
    this.hits.append(element("li", { class: "small soft" }, "no such row on the maps"));
    this.pin(-1); // a row found before would look like the one that was asked for
  }

  closeHits() { this.hits.replaceChildren(); }

  // From the field into the list of hits and back.
  walkHits(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      if (!this.hits.firstChild) this.find();
      const stops = [this.search, ...this.hits.querySelectorAll("button")];
      stops[Math.min(Math.max(stops.indexOf(document.activeElement) + step, 0), stops.length - 1)].focus();
    } else if (event.key === "Enter" && event.target === this.search) this.hits.querySelector("button")?.click();
    else if (event.key === "Escape" && this.hits.firstChild) {
      this.search.focus();
      this.closeHits();
    } else return;
    event.preventDefault();
  }

  nameOf(row) {
    const id = this.told.ids[row], number = this.told.rows[row];
    return id === String(number) ? `row ${number}` : `${id} (row ${number})`;
  }

  tipLines(row) {
    const lines = [this.nameOf(row), `${this.colour.name}: ${this.colour.text(row)}`];
    for (const one of this.colours.filter((c) => c !== this.colour).slice(0, 4)) lines.push(`${one.name}: ${one.text(row)}`);
    return lines.map((line) => (line.length > 50 ? `${line.slice(0, 49)}…` : line));
  }

  tellSelection() {
    const { selected, told } = this;
    if (!selected) {
      this.summary.replaceChildren(element("h4", {}, "Selection"),
        element("p", { class: "small soft" }, `${told.n} rows, none selected. Drag over a map, or choose a value in the legend.`));
      return;
    }
    const rows = [];
    for (let i = 0; i < selected.length; i++) if (selected[i]) rows.push(i);
    const parts = [element("h4", {}, `${rows.length} of ${told.n} rows selected`)];
    const steps = this.colour.steps();
    if (!this.colour.isNumber) {
      const counts = new Map();
      for (const row of rows) counts.set(this.colour.text(row), (counts.get(this.colour.text(row)) || 0) + 1);
      const most = [...counts.entries()].sort((a, b) => b[1] - a[1]).slice(0, 6);
      parts.push(element("p", { class: "small" }, `${this.colour.name}: ` +
        most.map(([name, count]) => `${name} ${Math.round((100 * count) / rows.length)} %`).join(", ")));
    } else {
      const values = rows.map((row) => this.colour.values[row]).filter(Number.isFinite).sort((a, b) => a - b);
      const half = values.length / 2;
      const middle = (values[Math.floor(half)] + values[Math.ceil(half) - 1]) / 2;
      parts.push(element("p", { class: "small" }, `${this.colour.name}: median ${this.colour.told(middle ?? NaN)}, ` +
        `scale from ${this.colour.told(steps.low)} to ${this.colour.told(steps.high)}`));
    }
    const ids = element("textarea", { readonly: "", "aria-label": "Ids of the selected rows", rows: "3" });
    ids.value = rows.map((row) => told.ids[row]).join("\n");
    parts.push(ids);
    this.summary.replaceChildren(...parts);
  }

  tellRow() {
    const row = this.current;
    if (row < 0) {
      this.detail.replaceChildren(element("h4", {}, "A row and its neighbours"),
        element("p", { class: "small soft" }, "Point at a row, find it by its id, or go to a map and use the arrow keys."));
      return;
    }
    const list = element("dl", { class: "row" });
    for (const one of this.colours) {
      list.append(element("div", {}, element("dt", {}, one.name), element("dd", {}, one.text(row))));
    }
    const lists = this.told.spaces.map((space) => {
      const near = [...this.nearest(space, row)];
      const same = this.colour.isNumber || !this.colour.has(row) ? "" : `, ${near.filter((one) => this.colour.text(one) === this.colour.text(row)).length} with its ${this.colour.name}`;
      return element("div", {}, element("h4", {}, space.name),
        element("p", { class: "small soft" }, `${near.length} nearest${same}`),
        element("ol", {}, ...near.map((one) => element("li", {},
          element("button", { type: "button", onclick: () => this.pin(one) }, this.told.ids[one]),
          element("span", { class: "soft" }, this.colour.text(one))))));
    });
    const rings = "On every map the thick orange ring is this row; thin rings are its nearest rows in that space.";
    this.detail.replaceChildren(element("h4", {}, this.nameOf(row)), element("p", { class: "small soft" }, rings), list, element("div", { class: "near" }, ...lists));
  }
}
