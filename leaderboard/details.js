/** The panel beside the plot: what each selected record says, in words, and where it comes from. */

import { h } from "./dom.js";
import { count, points, signed } from "./format.js";
import { swatch } from "./series.js";
import { BESIDE, STATEMENTS, TITLES, badge, controlTag, explainedBy, manner, valuesOf } from "./words.js";

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

const NET_TITLES = { seeding: "Seeding", transmission: "Transmission", drift: "Drift", coherence: "Coherence change" };

function interval([value, low, high], why) {
  if (value === null) return h("span", { class: "missing", title: why }, "\u2013");
  const range = low === null || high === null ? h("span", { class: "missing", title: why }, "no interval") : `${signed(low)} to ${signed(high)}`;
  return [h("span", { class: "figure" }, signed(value)), " ", h("span", { class: "range" }, range)];
}

/** Every effect as it is and net of the control that the record names. */
function beside(row, control, onShow) {
  if (!control) return null;
  const whys = [...new Set(control.effects.map(({ why }) => why).filter(Boolean))];
  return h(
    "section",
    { class: "net" },
    h("h4", {}, "Beside its control, ", control.key
      ? h("button", { type: "button", class: "link", title: "Go to its row", listen: { click: () => onShow(control.key) } }, control.protocol)
      : h("span", { class: "name-inline" }, control.protocol)),
    h(
      "table",
      { class: "net-table" },
      h("caption", { class: "visually-hidden" }, "Effects in points, with 95 % intervals"),
      h("thead", {}, h("tr", {}, ["Effect", "As it is", `Net of ${control.protocol}`].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, control.effects.map(({ name, raw, net, why }) =>
        h("tr", { "data-effect": name }, h("th", { scope: "row" }, NET_TITLES[name] ?? name), h("td", {}, interval(raw, row.why[name])), h("td", {}, interval(net, why))))),
    ),
    h("p", {}, control.sentence),
    whys.length ? h("p", { class: "sub" }, `Missing: ${whys.join("; ")}.`) : null,
    control.trait ? null : h("p", { class: "sub" }, "The control's record is not on this page, so its curve is not drawn."),
  );
}

/** What tells a trait that is gone from a model that refuses, loops or falls silent: a row for each number that says something. */
function besideScores(row, { trait, beside }) {
  const values = { all: trait.mean, ...beside.values };
  const groups = BESIDE.map(([group, numbers]) => [group, numbers.filter(([name]) => values[name])]).filter(([, numbers]) => numbers.length);
  const zero = BESIDE.flatMap(([, numbers]) => numbers).filter(([name]) => beside.zero.includes(name));
  const cell = (value) => h("td", { class: value === null ? "missing" : null }, points(value));
  return h(
    "section",
    { class: "beside-scores" },
    h("h4", {}, "Beside the scores"),
    h(
      "div",
      { class: "beside-frame", role: "region", tabindex: 0, "aria-label": "Beside the scores, as a table" },
      h(
        "table",
        { class: "beside-table" },
        h("caption", { class: "visually-hidden" }, `At each checkpoint, means over ${count(row.seeds.length, "seed")}`),
        h("thead", {}, h("tr", {}, h("td"), trait.mean.map((_, at) => h("th", { scope: "col" }, at ? `c${at - 1}` : "base")))),
        groups.map(([group, numbers]) => h(
          "tbody",
          {},
          h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: trait.mean.length + 1 }, h("span", {}, group))),
          numbers.map(([name, title, meaning]) => h(
            "tr",
            { "data-name": name },
            h("th", { scope: "row", title: meaning, "aria-describedby": explainedBy(name) }, title),
            values[name].map(cell),
          )),
        )),
        beside.tasks.length ? h(
          "tbody",
          {},
          h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: trait.mean.length + 1 }, h("span", {}, "lm-eval tasks, % on target"))),
          beside.tasks.map(([name, items, shares]) => h(
            "tr",
            {},
            h("th", { scope: "row", class: "task", title: `${name}: the likeliest option is the target, of ${count(items, "item")}` }, name),
            shares.map(cell),
          )),
        ) : null,
      ),
    ),
    h("p", { class: "sub" }, [
      row.seeds.length > 1 ? "Means over seeds. " : null,
      "Coherent: 50 points or more, else filtered.",
      zero.length ? ` 0.0\u00a0% throughout: ${zero.map(([, title]) => title.replace(", %", "")).join(", ")}.` : null,
    ]),
  );
}

/** The card of one record; `onShow` is called with the key of a row to go to. */
export function card({ row, detail, slot }, { onShow }) {
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
      h("h3", {}, swatch(slot), h("span", { class: "name" }, row.trait), h("span", { class: "by" }, row.protocol), controlTag(row)),
      h("p", { class: "sub" }, `${row.model} · ${manner(row)} · ${count(row.seeds.length, "seed")} · ${row.measurement}, ${count(row.responses, "answer")} a checkpoint`),
    ),
    h("p", { class: "headline" }, detail.headline),
    h("dl", { class: "statements" }, statements),
    beside(row, detail.control, onShow),
    besideScores(row, detail),
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
