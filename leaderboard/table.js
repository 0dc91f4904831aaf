/**
 * The table of records: made once, then rows are shown, hidden, moved and marked, so that the focus never
 * gets lost. Knows how columns look and sort; knows nothing about filters' form or the plot.
 */

import { h, hidden, svg } from "./dom.js";
import { count, plain, points, seeds, signed } from "./format.js";
import { swatch } from "./series.js";
import { FILTERS, field } from "./state.js";
import { STATEMENTS, TITLES, QUESTIONS, badge, controlTag, leavesOut, manner, order, valuesOf } from "./words.js";

const GLYPH = { width: 92, height: 16 };

/** A number that is missing: an en dash, with the reason for those who point at it or listen. */
function missing(reason) {
  const why = reason || "not known";
  return h("span", { class: "missing", title: why }, h("span", { "aria-hidden": "true" }, "\u2013"), hidden(`missing: ${why}`));
}

function range([, low, high]) {
  if (low === null || high === null) return null;
  return h("span", { class: "range" }, `${signed(low)} to ${signed(high)}`);
}

function effect(row, name) {
  const value = row[name];
  if (value[0] === null) return missing(row.why[name]);
  return [h("span", { class: "figure" }, signed(value[0])), range(value) ?? missing(row.why[name])];
}

/** The drift and its interval against the band that counts as unchanged, drawn to a scale of 2.5 margins. */
function driftGlyph(row) {
  const [value, low, high] = row.drift;
  if (value === null || low === null || high === null) return null;
  const end = 2.5 * row.margin;
  const middle = GLYPH.height / 2;
  const x = (drift) => ((Math.max(-end, Math.min(end, drift)) + end) / (2 * end)) * (GLYPH.width - 8) + 4;
  const arrow = (at, way) => svg("path", { class: "glyph-arrow", d: `M${at} ${middle}l${-4 * way} -3.5v7Z` });
  return svg(
    "svg",
    { class: "glyph", viewBox: `0 0 ${GLYPH.width} ${GLYPH.height}`, "aria-hidden": "true" },
    svg("rect", { class: "glyph-band", x: x(-row.margin), y: 0, width: x(row.margin) - x(-row.margin), height: GLYPH.height, rx: 2 }),
    svg("path", { class: "glyph-zero", d: `M${x(0)} 0V${GLYPH.height}` }),
    svg("path", { class: "glyph-line", d: `M${x(low)} ${middle}H${x(high)}` }),
    low < -end ? arrow(x(low) - 3, -1) : null,
    high > end ? arrow(x(high) + 3, 1) : null,
    Math.abs(value) <= end ? svg("circle", { class: "glyph-dot", cx: x(value), cy: middle, r: 3.2 }) : null,
  );
}

function bound(row) {
  if (row.bound === null) return missing(row.why.bound);
  const under = row.bound < row.margin;
  return [
    h("span", { class: "figure strong" }, points(row.bound)),
    h("span", { class: "range" }, `${under ? "under" : "over"} ${plain(row.margin)}`),
  ];
}

function protocolCell(row) {
  return [
    h("span", { class: "name" }, row.protocol),
    h("span", { class: "sub" }, manner(row)),
    h("span", { class: "sub" }, count(row.cycles, "cycle")),
    row.control ? h("span", { class: "sub" }, controlTag(row)) : null,
    row.control ? h("span", { class: "sub without" }, leavesOut(row)) : null,
  ];
}

function modelCell(row) {
  const slash = row.model.lastIndexOf("/") + 1;
  return [
    h("span", { class: "name" }, slash ? h("span", { class: "owner" }, row.model.slice(0, slash)) : null, row.model.slice(slash)),
    row.not_ranked && row.standing === "not ranked" ? h("span", { class: "sub why" }, `Not ranked: ${row.not_ranked}.`) : null,
  ];
}

/** A trait that is not there stays where it is: `idempotent` loses its colour and says so. */
function statementCell(row, id) {
  const qualified = (value) => value === "idempotent" && row.qualified;
  const badges = valuesOf(row, id).map((value) => [
    badge(id, value, { pale: qualified(value) }),
    qualified(value) ? h("span", { class: "sub", title: `This means little: ${row.not_ranked}.` }, "means little here") : null,
  ]);
  return h("span", { class: "badges" }, badges);
}

function evidenceCell(row) {
  return [
    h("span", { class: "name" }, seeds(row)),
    row.seeds.length === 1
      ? h("span", { class: "sub tag", title: "One seed: about these very checkpoints, not about another chain." }, "exploratory")
      : null,
    h("span", { class: "sub" }, row.measurement),
    h("span", { class: "sub" }, count(row.responses, "answer")),
  ];
}

/** What each column is called, shows and sorts by (null sorts last, whichever way). */
const COLUMNS = [
  { id: "rank", title: "#", long: "Rank", numeric: true, cell: () => null, value: (row, place) => place },
  { id: "model", title: "Model", cell: modelCell, value: (row) => row.model.toLowerCase() },
  { id: "trait", title: "Trait", cell: (row) => h("span", { class: "name" }, row.trait), value: (row) => row.trait.toLowerCase() },
  { id: "protocol", title: "Method and mode", cell: protocolCell, value: (row) => row.protocol.toLowerCase() },
  { id: "evidence", title: "Evidence", hint: "Seeds, one chain each, and the measurement: answers to the trait's questions at each checkpoint.", cell: evidenceCell, value: (row) => row.seeds.length * 1e6 + row.responses },
  ...STATEMENTS.map((id) => ({
    id,
    title: TITLES[id],
    hint: QUESTIONS[id],
    cell: (row) => statementCell(row, id),
    value: (row) => order(row, id),
  })),
  { id: "effect", title: "Seeding effect", hint: "Cycle 0 minus base model, in points of 100, with its 95 % interval.", numeric: true, cell: (row) => effect(row, "seeding_effect"), value: (row) => row.seeding_effect[0] },
  { id: "drift", title: "Drift", hint: "Last cycle minus cycle 1, in points, with its 95 % interval. The shaded band counts as unchanged.", numeric: true, cell: (row) => [effect(row, "drift"), driftGlyph(row)], value: (row) => row.drift[0] },
  { id: "bound", title: "Proven bound", hint: "The smallest margin at which the trait is shown to be unchanged from cycle 1 on. Smaller is better.", numeric: true, cell: bound, value: (row) => row.bound },
  { id: "change", title: "Coherence change", hint: "Last cycle minus cycle 1, in points, with its 95 % interval.", numeric: true, cell: (row) => effect(row, "coherence_change"), value: (row) => row.coherence_change[0] },
];

/** Ids of the columns that can be sorted by. */
export const SORTS = COLUMNS.map((column) => column.id);

/** Does the row pass the filters? Every word of the text must occur somewhere in it. */
export function passes(row, state) {
  if (FILTERS.some((name) => state[name] && field(row, name) !== state[name])) return false;
  const words = [row.model, row.trait, row.protocol, row.method, row.mode, row.form, row.control ? `control ${row.control}` : "", row.measurement, row.standing, row.key, ...STATEMENTS.flatMap((id) => valuesOf(row, id))];
  const all = words.join(" ").toLowerCase();
  return state.text.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

/** Rows in the order that the state asks for; ties keep the ranked order. */
export function sorted(records, state) {
  const column = COLUMNS.find(({ id }) => id === state.sort);
  const way = state.descending ? -1 : 1;
  const keyed = records.map((row, place) => ({ row, place, value: column.value(row, place) }));
  keyed.sort((one, other) => {
    if ((one.value === null) !== (other.value === null)) return one.value === null ? 1 : -1;
    if (one.value < other.value) return -way;
    return one.value > other.value ? way : one.place - other.place;
  });
  return keyed.map(({ row }) => row);
}

export class Table {
  /**
   * @param records Rows of the index.
   * @param onSort Called with a column's id.
   * @param onToggle Called with a record's key.
   */
  constructor(records, { onSort, onToggle }) {
    this.records = records;
    this.rows = new Map();
    this.headings = new Map();
    this.body = h("tbody", { role: "rowgroup" });
    this.empty = h("p", { class: "notice", hidden: true }, "No record passes these filters.");
    for (const row of records) this.rows.set(row.key, this.#makeRow(row, onToggle));
    const columns = h(
      "tr",
      { role: "row" },
      h("th", { scope: "col", role: "columnheader", class: "pick" }, hidden("In the plot")),
      COLUMNS.map((column) => this.#makeHeading(column, onSort)),
    );
    const caption = h("caption", { class: "visually-hidden" }, "Records, ranked by proven bound. Headings sort; boxes choose what is plotted.");
    this.element = h(
      "div",
      { class: "table-frame", role: "region", "aria-label": "Table of records", tabindex: "0" },
      h("table", { role: "table" }, caption, h("thead", { role: "rowgroup" }, columns), this.body),
      this.empty,
    );
  }

  #makeHeading(column, onSort) {
    const button = h(
      "button",
      { type: "button", class: "sort", title: column.hint, listen: { click: () => onSort(column.id) } },
      h("span", { "aria-hidden": column.long ? "true" : null }, column.title),
      column.long ? hidden(column.long) : null,
      h("span", { class: "arrow", "aria-hidden": "true" }),
    );
    const heading = h("th", { scope: "col", role: "columnheader", class: `col-${column.id}${column.numeric ? " numeric" : ""}`, "data-column": column.id }, button);
    this.headings.set(column.id, heading);
    return heading;
  }

  #makeRow(row, onToggle) {
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Plot ${row.trait}, ${row.protocol}, ${row.model}`,
      listen: { change: () => onToggle(row.key) },
    });
    const mark = h("span", { class: "mark" });
    const pick = h("td", { class: "pick", role: "cell" }, h("label", {}, box, mark));
    const cells = COLUMNS.map((column) =>
      h(
        column.id === "model" ? "th" : "td",
        {
          class: `col-${column.id}${column.numeric ? " numeric" : ""}`,
          role: column.id === "model" ? "rowheader" : "cell",
          scope: column.id === "model" ? "row" : null,
          "data-label": column.title,
        },
        [column.cell(row)].flat(Infinity),
      ));
    const clicked = (event) => {
      if (event.target.closest("label, button, a, input")) return;
      if (String(document.getSelection())) return;
      onToggle(row.key);
    };
    const element = h(
      "tr",
      { role: "row", class: `row standing-${row.standing.replace(" ", "-")}`, "data-key": row.key, listen: { click: clicked } },
      pick,
      cells,
    );
    return { element, box, mark, rank: cells[0] };
  }

  /** Bring a row into view and the focus to it. */
  reveal(key) {
    const { element, box } = this.rows.get(key);
    element.scrollIntoView({ block: "center" });
    box.focus({ preventScroll: true });
  }

  /** Show what the state asks for; `looks` maps selected keys to slots. Returns how many rows are shown. */
  update(state, looks) {
    for (const [id, heading] of this.headings) {
      const direction = state.descending ? "descending" : "ascending";
      if (id === state.sort) heading.setAttribute("aria-sort", direction);
      else heading.removeAttribute("aria-sort");
    }
    let rank = 0;
    let shown = 0;
    for (const row of this.records) {
      const { element, rank: cell } = this.rows.get(row.key);
      element.hidden = !passes(row, state);
      if (element.hidden) continue;
      shown += 1;
      if (row.standing === "ranked") {
        rank += 1;
        cell.replaceChildren(h("span", { class: "figure" }, String(rank)));
      } else {
        cell.replaceChildren(missing(row.not_ranked));
      }
    }
    const order = sorted(this.records, state).map((row) => this.rows.get(row.key).element);
    if (order.some((element, place) => this.body.children[place] !== element)) {
      const focused = document.activeElement;
      this.body.append(...order);
      if (this.body.contains(focused)) focused.focus();
    }
    for (const [key, { element, box, mark }] of this.rows) {
      const slot = looks.get(key);
      box.checked = slot !== undefined;
      element.classList.toggle("selected", slot !== undefined);
      mark.replaceChildren(...(slot === undefined ? [] : [swatch(slot)]));
    }
    this.empty.hidden = shown > 0;
    this.element.classList.toggle("long", shown > 10);
    return shown;
  }
}
