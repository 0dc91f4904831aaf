/** The form above the table: what to show. */

import { h } from "./dom.js";
import { FILTERS } from "./state.js";

const TITLES = { model: "Model", trait: "Trait", protocol: "Protocol" };

export class Filters {
  /**
   * @param onChange Called with the values that changed.
   * @param onClear Called when everything is to be shown again.
   */
  constructor(form, records, { onChange, onClear, onSort, sorts }) {
    this.fields = {};
    for (const name of FILTERS) {
      const values = [...new Set(records.map((row) => row[name]))].sort();
      const select = h(
        "select",
        { name, listen: { change: () => onChange({ [name]: select.value }) } },
        h("option", { value: "" }, `All ${TITLES[name].toLowerCase()}s`),
        values.map((value) => h("option", { value }, value)),
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
    const field = (title, control, name = "") => h("label", { class: `field ${name}` }, h("span", {}, title), control);
    form.replaceChildren(
      ...FILTERS.map((name) => field(TITLES[name], this.fields[name])),
      field("Text", this.fields.text, "field-text"),
      field("Sort by", this.sort, "field-sort"),
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
