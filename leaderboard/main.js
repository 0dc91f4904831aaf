/** Puts the page together: one state, kept in the address; every change draws what depends on it. */

import { card } from "./details.js";
import { h } from "./dom.js";
import { Filters } from "./filters.js";
import { count } from "./format.js";
import { Plot } from "./plot.js";
import { Looks } from "./series.js";
import { FILTERS, MOST, format, parse } from "./state.js";
import { Story } from "./story.js";
import { SORTS, Table } from "./table.js";
import { guide } from "./words.js";

const place = (id) => document.getElementById(id);
const index = JSON.parse(place("index").textContent || '{"records": [], "details": [], "claims": [], "superseded": [], "left_out": []}');
const entries = new Map(index.records.map((row, at) => [row.key, { row, detail: index.details[at] }]));
const looks = new Looks();
let state = parse(location.hash, index, SORTS);

function change(changes) {
  state = { ...state, ...changes };
  const hash = format(state, index);
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  draw();
}

function toggle(key) {
  if (state.selected.includes(key)) {
    change({ selected: state.selected.filter((one) => one !== key) });
  } else if (state.selected.length < MOST) {
    change({ selected: [...state.selected, key] });
  } else {
    draw();
    place("plot-note").textContent = `At most ${MOST} records can be told apart at once. Take one out first.`;
  }
}

const everything = () => ({ ...Object.fromEntries(FILTERS.map((name) => [name, ""])), text: "" });

function show(key) {
  if (table.rows.get(key).element.hidden) change(everything());
  table.reveal(key);
}

function sort(column) {
  change({ sort: column, descending: state.sort === column && !state.descending });
}

const table = new Table(index.records, { onSort: sort, onToggle: toggle });
const story = new Story(place("story"), index, { onToggle: toggle, onTrait: (trait) => change({ trait }) });
const plot = new Plot({ onRemove: toggle, onSeeds: (seeds) => change({ seeds }) });
const sorts = SORTS.map((id) => [id, table.headings.get(id).textContent.replace("#", "")]);
const filters = new Filters(place("filters"), index.records, {
  onChange: change,
  onClear: () => change(everything()),
  onSort: (column) => change({ sort: column, descending: false }),
  sorts,
});

let cards = new Map();

function draw() {
  const slots = looks.assign(state.selected);
  filters.update(state);
  const shown = table.update(state, slots);
  place("story-note").textContent = story.update(state, new Set(state.selected));
  const total = index.records.length;
  place("count").textContent = shown === total ? count(total, "record") : `${shown} of ${count(total, "record")}`;
  const selected = state.selected.map((key) => ({ ...entries.get(key), slot: slots.get(key) }));
  plot.update(selected, { seeds: state.seeds });
  place("plot-note").textContent = selected.length && total > 1 ? `${selected.length} of ${count(total, "record")}` : "";
  const kept = new Map(selected.map((entry) => {
    const known = cards.get(entry.row.key);
    const same = known && known.slot === entry.slot;
    return [entry.row.key, same ? known : { slot: entry.slot, element: makeCard(entry) }];
  }));
  cards = kept;
  place("details").replaceChildren(...[...cards.values()].map(({ element }) => element));
}

function makeCard(entry) {
  const element = card(entry, { onShow: show });
  element.addEventListener("pointerenter", () => plot.light(entry.row.key));
  element.addEventListener("pointerleave", () => plot.light(null));
  return element;
}

function listed(kind, title, items) {
  if (!items.length) return null;
  return h("details", { class: `left-out ${kind}`, open: items.length <= 5 && kind !== "superseded" }, h("summary", {}, title), h("ul", {}, items.map((item) => h("li", {}, item))));
}

function supersededItem({ path, by }) {
  const { row } = entries.get(by);
  const link = h("button", { type: "button", class: "link", listen: { click: () => show(by) } }, `${row.trait}, ${row.protocol}`);
  return [h("code", {}, path), ` makes room for `, link, ` (${count(row.seeds.length, "seed")}, ${count(row.cycles, "cycle")}), which takes it further.`];
}

function leftOut() {
  return [
    listed("superseded", `${count(index.superseded.length, "record")} superseded`, index.superseded.map(supersededItem)),
    listed("broken", `${count(index.left_out.length, "record")} left out`, index.left_out.map(({ path, reason }) => [h("code", {}, path), " ", reason])),
  ].filter(Boolean);
}

place("plot").replaceChildren(plot.element);
place("guide").replaceChildren(...guide());
place("left-out").replaceChildren(...leftOut());
if (index.records.length) {
  place("table").replaceChildren(table.element);
} else {
  place("filters").hidden = true;
  place("selection").hidden = true;
  place("story-section").hidden = true;
  place("table").replaceChildren(h("p", { class: "notice" }, "There are no records here yet. Make one: ", h("code", {}, "idembench run sft-reset")));
}
addEventListener("hashchange", () => {
  if (place(location.hash.slice(1))) return; // a jump within the page, not a view
  state = parse(location.hash, index, SORTS);
  draw();
});
draw();
document.documentElement.dataset.ready = "yes";
