/** The form above everything: what to show. */

import { h } from "./dom.js";
import { FILTERS, field } from "./state.js";

const TITLES = { model: "Model", trait: "Trait", protocol: "Protocol", kind: "Controls" };
const EVERYTHING = { kind: "With controls" };
const NAMES = { arms: "Without controls", controls: "Controls only" };

export class Filters {
  /**
   * @param onChange Called with the values that changed.
   * @param onClear Called when everything is to be shown again.
   */
  constructor(form, records, { onChange, onClear, onSort, sorts }) {
    this.fields = {};
    for (const name of FILTERS) {
      const values = [...new Set(records.map((row) => field(row, name)))].sort();
      const select = h(
        "select",
        { name, listen: { change: () => onChange({ [name]: select.value }) } },
        h("option", { value: "" }, EVERYTHING[name] ?? `All ${TITLES[name].toLowerCase()}s`),
        values.map((value) => h("option", { value }, name === "kind" ? NAMES[value] : value)),
      );
      this.fields[name] = select;
    }
    this.fields.text = h("input", {
      type: "search",
      name: "text",
      placeholder: "Search: amplified, dpo",
      autocomplete: "off",
      listen: { input: () => onChange({ text: this.fields.text.value }) },
    });
    this.sort = h(
      "select",
      { name: "sort", listen: { change: () => onSort(this.sort.value) } },
      sorts.map(([id, title]) => h("option", { value: id }, title)),
    );
    this.clear = h("button", { type: "button", class: "clear", hidden: true, listen: { click: onClear } }, "Show all");
    const labelled = (title, control, name = "") => h("label", { class: `field ${name}` }, h("span", {}, title), control);
    const asked = FILTERS.filter((name) => name !== "kind" || records.some((row) => row.control));
    form.replaceChildren(
      ...asked.map((name) => labelled(TITLES[name], this.fields[name])),
      labelled("Text", this.fields.text, "field-text"),
      labelled("Sort by", this.sort, "field-sort"),
      this.clear,
    );
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  update(state) {
    for (const [name, field] of Object.entries(this.fields)) if (field.value !== state[name]) field.value = state[name];
    this.sort.value = state.sort;
    this.clear.hidden = !Object.keys(this.fields).some((name) => state[name]);
  }
}
