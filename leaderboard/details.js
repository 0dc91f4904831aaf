/** The panel beside the plot: what each selected record says, in words, and where it comes from. */

import { h } from "./dom.js";
import { count } from "./format.js";
import { swatch } from "./series.js";
import { STATEMENTS, TITLES, badge, valuesOf } from "./words.js";

const LONG = 28;

function pairs(title, entries) {
  return [
    h("h4", {}, title),
    h("dl", { class: "pairs" }, entries.map(([name, value]) =>
      h("div", { class: value.length > LONG ? "long" : null }, h("dt", {}, name), h("dd", {}, value)))),
  ];
}

/** A command that can be copied with one press. */
function command(text) {
  const code = h("code", {}, text);
  const select = () => {
    const range = document.createRange();
    range.selectNodeContents(code);
    const selection = document.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  const button = h("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      select();
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  return h("div", { class: "command" }, code, button);
}

/** The card of one record. */
export function card({ row, detail, slot }) {
  const statements = STATEMENTS.map((statement, at) => h(
    "div",
    { class: "statement" },
    h("dt", {}, h("span", { class: "statement-title" }, TITLES[statement]), valuesOf(row, statement).map((value) => badge(statement, value, { pale: value === "idempotent" && row.qualified }))),
    h("dd", {}, detail.sentences[at]),
  ));
  return h(
    "article",
    { class: `card series-${slot}`, "data-key": row.key, "aria-label": `${row.trait}, ${row.protocol}, ${row.model}` },
    h(
      "header",
      {},
      h("h3", {}, swatch(slot), h("span", { class: "name" }, row.trait), h("span", { class: "by" }, row.protocol)),
      h("p", { class: "sub" }, `${row.model} · ${count(row.seeds.length, "seed")} · ${row.measurement}, ${count(row.responses, "answer")} a checkpoint`),
    ),
    h("p", { class: "headline" }, detail.headline),
    h("dl", { class: "statements" }, statements),
    h("ul", { class: "caveats", "aria-label": "To keep in mind" }, detail.caveats.map((text) => h("li", {}, text))),
    h("h4", {}, "Check it, offline"),
    command(detail.command),
    h(
      "details",
      { class: "origin" },
      h("summary", {}, "Settings and origin"),
      h("p", { class: "claim" }, `The statements are about ${detail.claim}.`),
      pairs("Record", [["id", detail.id], ["samples are in", detail.path]]),
      pairs("Protocol", detail.settings),
      pairs("Execution", detail.execution),
      pairs("Origin", detail.origin),
    ),
  );
}
