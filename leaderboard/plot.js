/**
 * The plot: trait above, coherence below, over base, c0 .. cK, with 95 % intervals.
 *
 * Drawn anew at every change; coordinates are pixels of the element, so that text keeps its size on a phone.
 * One mark `.point` per record, checkpoint and panel that has a mean; all of them can be reached by arrow keys.
 */

import { h, svg } from "./dom.js";
import { checkpoint, count, plain, points, shortModel } from "./format.js";
import { dash, marker, swatch } from "./series.js";

const PANELS = [
  { id: "trait", title: "Trait score", share: 0.66 },
  { id: "coherence", title: "Coherence", share: 0.34 },
];
const TICKS = [0, 25, 50, 75, 100];
const WIDE = 620;
const LINE_HEIGHT = 15;
const LABEL_LENGTH = 34;

/** What a record is called in the plot; the model only where it tells records apart. */
export function names(entries) {
  const models = new Set(entries.map(({ row }) => row.model));
  return entries.map(({ row }) => `${row.trait} · ${row.protocol}${models.size > 1 ? ` · ${shortModel(row.model)}` : ""}`);
}

/** The same beside the curves, where space is short: only what differs, cut after `LABEL_LENGTH` characters. */
function labelsOf(entries) {
  const parts = [(row) => row.trait, (row) => row.protocol, (row) => shortModel(row.model)];
  const differ = parts.filter((part) => new Set(entries.map(({ row }) => part(row))).size > 1);
  return entries.map(({ row }) => {
    const text = (differ.length ? differ : parts.slice(0, 1)).map((part) => part(row)).join(" · ");
    return text.length > LABEL_LENGTH ? `${text.slice(0, LABEL_LENGTH - 1)}\u2026` : text;
  });
}

function path(xs, ys) {
  let d = "";
  let pen = false;
  xs.forEach((x, at) => {
    if (ys[at] === null) {
      pen = false;
      return;
    }
    d += `${pen ? "L" : "M"}${x.toFixed(1)} ${ys[at].toFixed(1)}`;
    pen = true;
  });
  return d;
}

/** Move labels apart: each at least a line below the one before, all within the panel. */
function spread(labels, top, bottom) {
  const order = [...labels].sort((one, other) => one.y - other.y);
  order.forEach((label, at) => {
    label.at = Math.max(label.y, at ? order[at - 1].at + LINE_HEIGHT : top);
  });
  let limit = bottom;
  for (const label of order.reverse()) {
    label.at = Math.min(label.at, limit);
    limit = label.at - LINE_HEIGHT;
  }
}

export class Plot {
  /**
   * @param onRemove Called with the key of a record to take out.
   * @param onSeeds Called when single seeds are to be shown or not.
   */
  constructor({ onRemove, onSeeds }) {
    this.onRemove = onRemove;
    this.entries = [];
    this.seeds = false;
    this.lit = null;
    this.width = 0;
    this.box = h("input", { type: "checkbox", id: "each-seed", listen: { change: () => onSeeds(this.box.checked) } });
    this.toggle = h("label", { class: "toggle" }, this.box, "each seed");
    this.legend = h("ul", { class: "legend", "aria-label": "Records in the plot" });
    this.canvas = h("div", { class: "canvas" });
    this.tip = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.numbers = h("div", { class: "numbers-body" });
    this.element = h(
      "figure",
      {},
      h("div", { class: "plot-head" }, this.legend, this.toggle),
      h("div", { class: "canvas-frame" }, this.canvas, this.tip),
      h("figcaption", {}),
      h("details", { class: "numbers" }, h("summary", {}, "The numbers of this plot"), this.numbers),
    );
    new ResizeObserver(([{ contentRect }]) => {
      if (Math.abs(contentRect.width - this.width) > 0.5) {
        this.width = contentRect.width;
        this.#draw();
      }
    }).observe(this.canvas);
  }

  /** Show these entries: `{ row, detail, slot }` each, in the order of selection. */
  update(entries, { seeds }) {
    this.entries = entries;
    this.seeds = seeds;
    this.box.checked = seeds;
    this.toggle.hidden = entries.every(({ row }) => row.seeds.length < 2);
    this.lit = null;
    const called = names(entries);
    this.legend.replaceChildren(
      ...entries.map(({ row, slot }, at) =>
        h(
          "li",
          { class: `chip series-${slot}`, "data-key": row.key, listen: { pointerenter: () => this.light(row.key), pointerleave: () => this.light(null) } },
          swatch(slot),
          h("span", { class: "chip-name" }, called[at]),
          row.estimand === "this artefact" ? h("span", { class: "chip-note" }, "one seed") : null,
          h("button", { type: "button", class: "remove", "aria-label": `Take ${called[at]} out of the plot`, listen: { click: () => this.onRemove(row.key) } }, "\u00d7"),
        )),
    );
    this.element.querySelector("figcaption").replaceChildren(...this.#caption());
    this.numbers.replaceChildren(...entries.map((entry, at) => this.#table(entry, called[at])));
    this.width = this.canvas.clientWidth || this.width;
    this.#draw();
  }

  /** Bring one record forward, or none. */
  light(key) {
    if (this.lit === key) return;
    this.lit = key;
    for (const node of this.element.querySelectorAll("[data-key]:not(.point)")) {
      node.classList.toggle("dim", key !== null && node.dataset.key !== key);
      node.classList.toggle("lit", key !== null && node.dataset.key === key);
    }
  }

  #caption() {
    const rows = this.entries.map(({ row }) => row);
    const said = [];
    if (rows.some((row) => row.estimand !== "this artefact")) {
      said.push("Whiskers: 95 % intervals over seeds.");
    }
    if (rows.some((row) => row.estimand === "this artefact")) {
      said.push("Dashed whiskers (one seed): 95 % intervals of these very checkpoints.");
    }
    if (rows.length) said.push("Level dashed lines: the base model.");
    if (this.entries.some(({ detail }) => detail.control?.trait)) said.push("Thin dashed curves: the control of the record of that colour.");
    if (rows.length === 1) said.push(`Shaded: within ${plain(rows[0].margin)} points of cycle 1, which counts as unchanged.`);
    if (this.entries.some(({ detail }) => detail.diverged.length)) said.push("Crosses: a seed's last score before its training fell apart.");
    return [said.join(" ")];
  }

  #table({ row, detail }, called) {
    const control = detail.control?.trait;
    const header = ["", "Trait", "95 % interval", "Coherence", "95 % interval", ...(control ? [`Trait, ${detail.control.protocol}`] : [])];
    const cells = (curve, at) => [
      curve.mean[at] === null ? "\u2013" : points(curve.mean[at]),
      curve.low[at] === null || curve.high[at] === null ? "\u2013" : `${points(curve.low[at])} to ${points(curve.high[at])}`,
    ];
    return h(
      "table",
      { class: "numbers-table" },
      h("caption", {}, `${called} (${row.estimand}, ${count(row.seeds.length, "seed")})`),
      h("thead", {}, h("tr", {}, header.map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, detail.trait.mean.map((_, at) =>
        h("tr", {}, h("th", { scope: "row" }, at ? `c${at - 1}` : "base"), [...cells(detail.trait, at), ...cells(detail.coherence, at), ...(control ? [points(control[at] ?? null)] : [])].map((text) => h("td", {}, text))))),
    );
  }

  #draw() {
    this.tip.hidden = true;
    if (!this.entries.length || !this.width) {
      this.canvas.replaceChildren(...(this.entries.length ? [] : [h("p", { class: "notice" }, "Choose a record in the table to see its trajectory.")]));
      return;
    }
    const wide = this.width >= WIDE;
    const labelled = wide && this.entries.length > 0;
    const longest = Math.max(...labelsOf(this.entries).map((label) => label.length));
    const frame = {
      left: 34,
      right: labelled ? 24 + 6.4 * longest : 14,
      top: 30,
      height: wide ? 540 : 470,
      gap: 54,
      bottom: 46,
    };
    const last = Math.max(...this.entries.map(({ row }) => row.cycles));
    const labels = ["base", ...Array.from({ length: last + 1 }, (_, cycle) => `c${cycle}`)];
    const inner = this.width - frame.left - frame.right;
    const step = inner / (labels.length - 0.3);
    const x = (at) => frame.left + step * (at + 0.35);
    const root = svg("svg", {
      class: "chart",
      width: this.width,
      height: frame.height,
      viewBox: `0 0 ${this.width} ${frame.height}`,
      role: "group",
      "aria-label": `Trait and coherence of ${count(this.entries.length, "record")} at base and cycles 0 to ${last}. Arrow keys move from point to point.`,
    });
    const space = frame.height - frame.top - frame.bottom - frame.gap;
    this.marks = [];
    let top = frame.top;
    for (const panel of PANELS) {
      const height = space * panel.share;
      const y = (score) => top + height * (1 - score / 100);
      root.append(this.#axes(panel, { x, y, labels, frame, top, height, step }));
      this.entries.forEach((entry, at) => root.append(this.#series(entry, at, panel, { x, y, step, top })));
      if (panel.id === "trait" && labelled) root.append(this.#labels({ x, y, top, height, step }));
      top += height + frame.gap;
    }
    root.append(this.#axis({ x, labels, frame, step }));
    root.addEventListener("pointermove", (event) => this.#nearest(event));
    root.addEventListener("pointerleave", () => this.#hide());
    root.addEventListener("keydown", (event) => this.#move(event));
    this.canvas.replaceChildren(root);
    if (this.marks.length) this.marks[0].node.setAttribute("tabindex", "0");
  }

  #axes(panel, { y, frame, top, height }) {
    const right = this.width - frame.right;
    const ticks = panel.id === "trait" ? TICKS : [0, 50, 100];
    return svg(
      "g",
      { class: "axes", "aria-hidden": "true" },
      svg("text", { class: "panel-title", x: frame.left - 26, y: top - 13 }, panel.title),
      ticks.map((tick) => [
        svg("path", { class: tick === 0 ? "ground" : "grid", d: `M${frame.left} ${y(tick)}H${right}` }),
        svg("text", { class: "tick", x: frame.left - 7, y: y(tick) + 3.5, "text-anchor": "end" }, String(tick)),
      ]),
      svg("rect", { class: "sense", x: frame.left, y: top, width: right - frame.left, height }),
    );
  }

  #axis({ x, labels, frame, step }) {
    const base = frame.height - frame.bottom;
    const brace = (from, to, text) => svg(
      "g",
      {},
      svg("path", { class: "brace", d: `M${x(from) - step * 0.28} ${base + 24}H${x(to) + step * 0.28}` }),
      svg("text", { class: "phase", x: (x(from) + x(to)) / 2, y: base + 38, "text-anchor": "middle" }, text),
    );
    const narrow = step < 58;
    return svg(
      "g",
      { class: "axis", "aria-hidden": "true" },
      labels.map((label, at) => svg("text", { class: "tick", x: x(at), y: base + 16, "text-anchor": "middle" }, label)),
      brace(0, 0, narrow ? "base" : "untouched"),
      brace(1, 1, narrow ? "seed" : "seeded"),
      labels.length > 2 ? brace(2, labels.length - 1, "trained on its own outputs") : null,
    );
  }

  #series({ row, detail, slot }, place, panel, { x, y, step }) {
    const curve = detail[panel.id];
    const shift = this.entries.length > 1 ? (place - (this.entries.length - 1) / 2) * Math.min(7, (0.5 * step) / this.entries.length) : 0;
    const xs = curve.mean.map((_, at) => x(at) + shift);
    const level = (scores) => scores.map((score) => (score === null ? null : y(score)));
    const means = level(curve.mean);
    const [base, first] = [means[0], means[2] ?? null];
    const group = svg("g", { class: `series series-${slot}`, "data-key": row.key, "data-panel": panel.id });
    if (panel.id === "trait" && this.entries.length === 1 && first !== null && xs.length > 3) {
      const bandTop = y(Math.min(100, curve.mean[2] + row.margin));
      const bandEnd = y(Math.max(0, curve.mean[2] - row.margin));
      group.append(svg("rect", { class: "band", x: xs[2], y: bandTop, width: xs.at(-1) - xs[2], height: bandEnd - bandTop, rx: 2 }));
    }
    if (base !== null) group.append(svg("path", { class: "base", d: `M${xs[0]} ${base}H${xs.at(-1)}` }));
    const beside = detail.control?.[panel.id];
    if (beside) group.append(svg("path", { class: "beside", d: path(xs, level(xs.map((_, at) => beside[at] ?? null))) }));
    curve.seeds.forEach((seed, at) => {
      const ys = level(seed);
      if (this.seeds && curve.seeds.length > 1) group.append(svg("path", { class: "seed", d: path(xs.slice(1), ys.slice(1)), "data-seed": row.seeds[at] }));
      if (!detail.diverged.some((fallen) => fallen.seed === row.seeds[at])) return;
      const end = ys.findLastIndex((score) => score !== null);
      if (end >= 0) group.append(svg("path", { class: "fallen", d: `M${xs[end] - 4.5} ${ys[end] - 4.5}l9 9m0 -9l-9 9` }));
    });
    group.append(svg("path", { class: "step-in", d: path(xs.slice(0, 2), means.slice(0, 2)) }));
    group.append(svg("path", { class: "line", d: path(xs.slice(1), means.slice(1)), "stroke-dasharray": dash(slot) }));
    const whisker = row.estimand === "this artefact" ? "whisker artefact" : "whisker";
    curve.mean.forEach((mean, at) => {
      if (mean === null) return;
      const [low, high] = [curve.low[at], curve.high[at]];
      const point = svg("g", {
        class: "point",
        tabindex: "-1",
        role: "img",
        "aria-label": this.#said({ row, detail }, panel, at).join(", "),
        "data-key": row.key,
        "data-at": at,
        listen: { focus: () => this.#show(mark), blur: () => this.#hide() },
      });
      if (low !== null && high !== null) {
        point.append(svg("path", { class: whisker, d: `M${xs[at]} ${y(low)}V${y(high)}m-3.5 0h7M${xs[at] - 3.5} ${y(low)}h7` }));
      }
      point.append(marker(slot, { transform: `translate(${xs[at].toFixed(1)} ${means[at].toFixed(1)})` }));
      if (at === 0) point.classList.add("untouched");
      group.append(point);
      const mark = { node: point, x: xs[at], y: means[at], at, place, panel, entry: { row, detail, slot } };
      this.marks.push(mark);
    });
    return group;
  }

  #labels({ x, y, top, height }) {
    const called = labelsOf(this.entries);
    const labels = this.entries.flatMap(({ row, detail, slot }, at) => {
      const end = detail.trait.mean.findLastIndex((mean) => mean !== null);
      if (end < 0) return [];
      return [{ text: called[at], key: row.key, slot, from: x(end), y: y(detail.trait.mean[end]) }];
    });
    spread(labels, top + 4, top + height);
    const right = Math.max(...labels.map((label) => label.from)) + 22;
    return svg(
      "g",
      { class: "labels", "aria-hidden": "true" },
      labels.map((label) => svg(
        "g",
        { class: `label series-${label.slot}`, "data-key": label.key },
        svg("path", { class: "leader", d: `M${label.from + 9} ${label.y}L${right - 4} ${label.at}` }),
        svg("text", { x: right, y: label.at + 4 }, label.text),
      )),
    );
  }

  #said({ row, detail }, panel, at) {
    const curve = detail[panel.id];
    const mean = curve.mean[at];
    const said = [`${row.trait}, ${row.protocol}`, checkpoint(at ? `c${at - 1}` : "base"), `${panel.title.toLowerCase()} ${mean === null ? "missing" : points(mean)}`];
    if (curve.low[at] !== null && curve.high[at] !== null) said.push(`95 % interval ${points(curve.low[at])} to ${points(curve.high[at])}`);
    return said;
  }

  #show(mark) {
    const { row, detail, slot } = mark.entry;
    const line = (title, curve) => {
      const mean = curve.mean[mark.at];
      const [low, high] = [curve.low[mark.at], curve.high[mark.at]];
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, title),
        h("td", { class: "figure" }, mean === null ? "\u2013" : points(mean)),
        h("td", {}, low === null || high === null ? "no interval" : `${points(low)} to ${points(high)}`),
      );
    };
    const bySeed = detail[mark.panel.id].seeds.map((seed, at) => `${row.seeds[at]}: ${seed[mark.at] === null ? "\u2013" : points(seed[mark.at])}`);
    this.tip.replaceChildren(
      h("p", { class: `tip-title series-${slot}` }, swatch(slot), `${row.trait} · ${row.protocol}`),
      h("p", { class: "tip-sub" }, `${checkpoint(mark.at ? `c${mark.at - 1}` : "base")}, ${shortModel(row.model)}`),
      h("table", {}, h("tbody", {}, line("Trait", detail.trait), line("Coherence", detail.coherence))),
      detail.control?.trait ? h("p", { class: "tip-sub" }, `Trait of its control, ${detail.control.protocol}: ${points(detail.control.trait[mark.at] ?? null)}`) : null,
      bySeed.length > 1 ? h("p", { class: "tip-sub" }, `${mark.panel.title} by seed  ${bySeed.slice(0, 10).join("  ")}`) : null,
    );
    this.tip.hidden = false;
    const left = mark.x > this.width / 2 ? mark.x - this.tip.offsetWidth - 14 : mark.x + 14;
    const height = this.canvas.clientHeight;
    this.tip.style.left = `${Math.max(0, Math.min(left, this.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${Math.max(0, Math.min(mark.y - 20, height - this.tip.offsetHeight))}px`;
    for (const { node } of this.marks) node.classList.toggle("hot", node === mark.node);
    this.light(row.key);
  }

  #hide() {
    this.tip.hidden = true;
    for (const { node } of this.marks) node.classList.remove("hot");
    this.light(null);
  }

  #nearest(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
    let best = null;
    let least = 44 ** 2;
    for (const mark of this.marks) {
      const distance = (mark.x - px) ** 2 + (mark.y - py) ** 2;
      if (distance < least) [best, least] = [mark, distance];
    }
    if (best) this.#show(best);
    else this.#hide();
  }

  #move(event) {
    const from = this.marks.find(({ node }) => node === document.activeElement);
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const way = ways[event.key];
    if (event.key === "Escape") this.#hide();
    if (!from || !way) return;
    event.preventDefault();
    const lane = (mark) => PANELS.indexOf(mark.panel) * this.entries.length + mark.place;
    const lanes = 2 * this.entries.length;
    const wanted = (lane(from) + way[1] + lanes) % lanes;
    const inLane = this.marks.filter((mark) => lane(mark) === wanted);
    const next = inLane.find((mark) => mark.at === from.at + way[0]) ?? (way[1] ? inLane.at(-1) : null);
    if (!next) return;
    from.node.setAttribute("tabindex", "-1");
    next.node.setAttribute("tabindex", "0");
    next.node.focus();
  }
}
