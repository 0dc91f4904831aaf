/**
 * What the reader has chosen, kept in the address after `#`, so that a view can be shared:
 *
 *   #select=1a2b3c4d,5e6f7a8b&trait=bliss&sort=-drift&seeds=1
 *
 * Only what differs from the first view is written; whatever in an address is unknown is ignored.
 * parse(format(state)) equals state.
 */

/** As many records as can be told apart by colour, marker and dash. */
export const MOST = 8;

export const FILTERS = ["model", "trait", "protocol", "kind"];

/** What a filter asks a row for; the kind is `arms` or `controls`. */
export function field(row, name) {
  if (name === "kind") return row.control ? "controls" : "arms";
  return row[name];
}

const FEW = 6;
const FIRST = 4;

/** The first view: the ranked order, all records if there are few, else the first ones. */
export function initial(index) {
  const keys = index.records.map((row) => row.key);
  return {
    selected: keys.length <= FEW ? keys : keys.slice(0, FIRST),
    model: "",
    trait: "",
    protocol: "",
    kind: "",
    text: "",
    sort: "rank",
    descending: false,
    seeds: false,
  };
}

/** The state that an address asks for. */
export function parse(hash, index, columns) {
  const state = initial(index);
  const asked = new URLSearchParams(hash.replace(/^#/, ""));
  if (asked.has("select")) {
    const known = new Set(index.records.map((row) => row.key));
    const keys = asked.get("select").split(",").filter((key) => known.has(key));
    state.selected = [...new Set(keys)].slice(0, MOST);
  }
  for (const name of FILTERS) {
    const value = asked.get(name) ?? "";
    if (index.records.some((row) => field(row, name) === value)) state[name] = value;
  }
  state.text = asked.get("text") ?? "";
  const sort = asked.get("sort") ?? "";
  if (columns.includes(sort.replace(/^-/, ""))) {
    state.sort = sort.replace(/^-/, "");
    state.descending = sort.startsWith("-");
  }
  state.seeds = asked.get("seeds") === "1";
  return state;
}

/** The address of a state; empty for the first view. */
export function format(state, index) {
  const first = initial(index);
  const asked = new URLSearchParams();
  if (state.selected.join() !== first.selected.join()) asked.set("select", state.selected.join(","));
  for (const name of [...FILTERS, "text"]) if (state[name]) asked.set(name, state[name]);
  if (state.sort !== first.sort || state.descending) asked.set("sort", (state.descending ? "-" : "") + state.sort);
  if (state.seeds) asked.set("seeds", "1");
  return asked.toString().replaceAll("%2C", ",").replaceAll("%2F", "/");
}
