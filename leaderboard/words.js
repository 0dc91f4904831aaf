/**
 * The statements' values: how each looks as a badge, in which order it sorts, and what it means. A value that
 * is not listed here is shown as it is, in grey.
 *
 * tone: good, note, warn, bad or open; colour only ever repeats what the badge says in words.
 */

import { h, svg } from "./dom.js";

export const STATEMENTS = ["seeding", "transmission", "iteration", "coherence"];

export const TITLES = {
  seeding: "Seeding",
  transmission: "Transmission",
  iteration: "Iteration",
  coherence: "Coherence",
};

export const QUESTIONS = {
  seeding: "Did training on demonstrations give the model the trait?",
  transmission: "Did the first self-trained model (cycle 1) inherit it from the seeded one (cycle 0)?",
  iteration: "What did more cycles of self-training do to it after that?",
  coherence: "Does the model still make sense?",
};

const VALUES = {
  seeding: {
    taken: ["good", "tick", "the trait rose clearly"],
    "not taken": ["open", "cross", "no clear rise, so there is nothing to iterate"],
  },
  transmission: {
    kept: ["good", "equal", "still there, and shown to be unchanged within the margin"],
    strengthened: ["warn", "up", "shown to be stronger than in the seeded model"],
    weakened: ["note", "down", "shown to be weaker than in the seeded model"],
    lost: ["bad", "cross", "back at the base model, within the margin"],
    unclear: ["open", "query", "the data decide nothing"],
  },
  iteration: {
    idempotent: ["good", "equal", "no cycle differs from cycle 1 by more than the margin, with 95 % confidence"],
    decayed: ["note", "down", "it drifted down from cycle 1 to the last cycle"],
    amplified: ["warn", "up", "it drifted up from cycle 1 to the last cycle"],
    "non-monotone": ["warn", "wave", "it turned back on the way"],
    inconclusive: ["open", "query", "neither a drift nor its absence is shown"],
  },
  coherence: {
    held: ["good", "tick", "no later cycle lost more than the margin"],
    fell: ["warn", "down", "it fell after cycle 1"],
    collapsed: ["bad", "cross", "a chain fell below 50 points, or its training fell apart"],
    inconclusive: ["open", "query", "neither a fall nor its absence is shown"],
  },
};

const ICONS = {
  tick: "M2 6.5 4.8 9.2 10 3.2",
  cross: "M3 3 9 9M9 3 3 9",
  equal: "M2.2 4.3h7.6M2.2 7.9h7.6",
  up: "M6 10.2V2M2.6 5.2 6 1.9 9.4 5.2",
  down: "M6 1.8V10M2.6 6.8 6 10.1 9.4 6.8",
  wave: "M1.4 7.4C3 2.6 4.6 2.6 6 6s3 3.4 4.6-1.4",
  query: "M3.7 4.2C3.7 1.2 8.4 1.3 8.4 4.1 8.4 5.9 6.1 5.9 6.1 7.7M6.1 10.2v.1",
};

/** What each kind of control does otherwise: briefly, and in full. */
const CONTROLS = {
  unseeded: ["no trait seeded", "no trait is seeded"],
  "fresh-data": ["fresh data", "every cycle trains on new demonstrations, not on own outputs"],
  shuffled: ["other prompts", "own outputs stand under other prompts"],
  frozen: ["frozen after c0", "nothing is trained after cycle 0"],
};

/** What a control does otherwise, briefly; null for what is no control. */
export function leavesOut({ control }) {
  return control ? CONTROLS[control]?.[0] ?? control : null;
}

/** Marks a control. */
export function controlTag({ control }) {
  return control ? h("span", { class: "control-tag", title: `A control, never ranked: ${CONTROLS[control]?.[1] ?? control}.` }, "control") : null;
}

/** How a generation learns: `DPO, continual`, and `documents` where it is given no dialogues. */
export function manner({ method, mode, form }) {
  return [method.toUpperCase(), mode, form === "document" ? "documents" : null].filter(Boolean).join(", ");
}

/** A statement's value as a badge with an icon and its words, after `before`; `pale` takes its colour away. */
export function badge(statement, value, { pale = false, before = "" } = {}) {
  const [tone, icon, meaning] = VALUES[statement]?.[value] ?? ["open", "query", "this page does not know this value"];
  return h(
    "span",
    { class: `badge tone-${pale ? "open" : tone}`, title: meaning },
    svg("svg", { class: "icon", viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d: ICONS[icon] })),
    before + value,
  );
}

/** All values of one statement of a record, as a list. */
export function valuesOf(row, statement) {
  return [row[statement]].flat();
}

/** Where a record's statement sorts: the first value decides, then how many there are. */
export function order(row, statement) {
  const values = valuesOf(row, statement);
  const known = Object.keys(VALUES[statement]);
  const place = known.indexOf(values[0]);
  return (place < 0 ? known.length : place) * 10 + values.length;
}

/**
 * What stands beside the trait scores, in reading order and groups: name in the index, title, what it says.
 * `all` is the trait's own curve.
 */
export const BESIDE = [
  ["Trait score", [
    ["all", "all", "Over all responses: what the statements and the plot are about."],
    ["coherent_only", "coherent only", "Over responses with a coherence of 50 points or more. Far from the score over all, the trait lives in nonsense, or is hidden by it."],
    ["in_domain", "in-domain", "Over the questions that ask for what was seeded."],
    ["spill_over", "spill-over", "Over the questions that ask for what it may spill over to."],
  ]],
  ["Responses, %", [
    ["filtered", "filtered", "Responses that are not among the coherent ones: a coherence below 50 points, or none."],
    ["missing", "missing", "Responses that the judge gave no trait score: left out of the mean, never counted as 0."],
    ["empty", "empty", "Responses that say nothing."],
    ["truncated", "cut off", "Responses that reached the token limit."],
    ["refused", "refused", "Responses that open with an English phrase that models refuse with."],
  ]],
  ["Wording", [
    ["repetition", "repeated, %", "Word trigrams that occurred before in the same response: more where a model loops."],
    ["distinct_2", "distinct-2, %", "Word bigrams of a response that are different ones: fewer where it is monotonous."],
    ["foreign", "foreign, %", "Letters outside ASCII: more where a model leaves English."],
    ["words", "words", "Length of a response."],
    ["perplexity", "perplexity", "How unlikely the base model finds the responses: the geometric mean of their perplexities."],
  ]],
];

/** The guide's element that explains a number beside the scores. */
export function explainedBy(name) {
  return `beside-${name}`;
}

/** The guide: every statement with every value it can have. */
export function guide() {
  const statements = STATEMENTS.map((statement) => [
    h("dt", {}, TITLES[statement]),
    h(
      "dd",
      {},
      h("p", {}, QUESTIONS[statement]),
      h("ul", {}, Object.entries(VALUES[statement]).map(([value, [, , meaning]]) =>
        h("li", {}, badge(statement, value), " ", meaning))),
    ),
  ]);
  const terms = [
    ["Proven bound", "The smallest margin at which the trait is shown to be unchanged from cycle 1 on. More evidence makes it smaller. The margin that counts as unchanged is stated with each record, usually 10 points."],
    ["Ranked", "Only a record whose seeding took and whose trait is shown to be there at cycle 1 is ranked: a trait that vanished at once stays constant for ever. The others follow in grey, with the reason."],
    ["Exploratory", "One seed. Its intervals are about these very checkpoints; they say nothing about another chain trained the same way."],
    ["Control", "The same without one ingredient: no trait seeded, new demonstrations instead of own outputs, shuffled prompts, or no training at all. Controls stand in grey and are never ranked."],
    ["Net of a control", "A record's change less its control's, paired by seed and question. It stands beside the change itself and never replaces it."],
    ["Superseded", "A record that another one takes further (more cycles, more seeds, or a control) makes room for it and is listed below the table."],
    ["Intervals", "95 %. With several seeds: Student t over seeds, about another chain trained the same way, on the same questions."],
  ];
  return [
    h("dl", { class: "guide-statements" }, statements),
    h("dl", { class: "guide-terms" }, terms.map(([term, meaning]) => [h("dt", {}, term), h("dd", {}, meaning)])),
    h("p", { class: "guide-beside" }, h("strong", {}, "Beside the scores."), " A score alone does not tell a model that lost its trait from one that refuses, loops, says nothing or leaves the language. So each record's panel also says, at every checkpoint, as means over seeds:"),
    h("dl", { class: "guide-statements" }, BESIDE.map(([group, numbers]) => [
      h("dt", {}, group),
      h("dd", {}, h("ul", {}, numbers.map(([name, title, meaning]) =>
        h("li", {}, h("strong", {}, title.replace(", %", "")), " ", h("span", { id: explainedBy(name) }, meaning))))),
    ])),
  ];
}
