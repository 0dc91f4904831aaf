/**
 * The story: one small plot for each protocol, all on one scale, with what the record says below it, and a sentence
 * or two for each protocol over all traits. What is said comes from the records; this only lays it out.
 */

import { h, svg } from "./dom.js";
import { count, estimate, points, signed } from "./format.js";
import { FILTERS, field } from "./state.js";
import { passes } from "./table.js";
import { TITLES, badge, controlTag, leavesOut, manner, valuesOf } from "./words.js";

const BOX = { width: 150, height: 92, left: 22, right: 4, top: 6, bottom: 16 };
const FEW = 5; // protocols that have room for larger plots
const MOST_TRAITS = 3; // side by side; of more, one at a time
const MOST_PLOTS = 15; // likewise
const MOST_BUTTONS = 12;
const MOST_DRIFTS = 6;

const x = (at, last) => BOX.left + 5 + ((BOX.width - BOX.left - BOX.right - 10) * at) / last;
const y = (score) => BOX.top + (BOX.height - BOX.top - BOX.bottom) * (1 - score / 100);

/** Stretches of checkpoints at which all of these curves have a value. */
function stretches(...curves) {
  const found = [];
  let open = null;
  curves[0].forEach((_, at) => {
    if (curves.some((curve) => (curve[at] ?? null) === null)) open = null;
    else if (open) open.push(at);
    else found.push((open = [at]));
  });
  return found;
}

function line(scores, last, attributes) {
  const d = stretches(scores).map((run) => `M${run.map((at) => `${x(at, last).toFixed(1)} ${y(scores[at]).toFixed(1)}`).join("L")}`);
  return svg("path", { ...attributes, d: d.join("") });
}

function band({ low, high }, last) {
  const d = stretches(low, high).map((run) => {
    const top = run.map((at) => `${x(at, last).toFixed(1)} ${y(high[at]).toFixed(1)}`);
    const bottom = [...run].reverse().map((at) => `${x(at, last).toFixed(1)} ${y(low[at]).toFixed(1)}`);
    return `M${[...top, ...bottom].join("L")}Z`;
  });
  return svg("path", { class: "arm-band", d: d.join("") });
}

function described(title, scores) {
  return `${title}: ${scores.map((score, at) => `${at ? `c${at - 1}` : "base"} ${points(score)}`).join(", ")}`;
}

/** Trait with its interval, coherence and the control, at base, c0 .. cK. */
function plot(row, detail) {
  const last = detail.trait.mean.length - 1;
  const control = detail.control?.trait;
  const fit = (scores) => detail.trait.mean.map((_, at) => scores[at] ?? null);
  const said = [described("Trait", detail.trait.mean), described("Coherence", detail.coherence.mean)];
  if (control) said.push(described(`Trait of its control, ${detail.control.protocol}`, fit(control)));
  return svg(
    "svg",
    { class: "arm-plot", viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": said.join(". ") },
    [0, 50, 100].map((tick) => [
      svg("path", { class: tick ? "grid" : "ground", d: `M${BOX.left} ${y(tick)}H${BOX.width - BOX.right}` }),
      svg("text", { class: "tick", x: BOX.left - 4, y: y(tick) + 3.5, "text-anchor": "end" }, String(tick)),
    ]),
    ["base", ...Array.from({ length: last }, (_, at) => `c${at}`)].map((name, at) =>
      at === 0 || at === 2 || at === last ? svg("text", { class: "tick", x: x(at, last), y: BOX.height - 3, "text-anchor": at === last ? "end" : "middle" }, name) : null),
    band(detail.trait, last),
    control ? line(fit(control), last, { class: "arm-control" }) : null,
    line(detail.coherence.mean, last, { class: "arm-coherence" }),
    line(detail.trait.mean, last, { class: "arm-trait" }),
    detail.trait.mean.map((score, at) => (score === null ? null : svg("circle", { class: "arm-dot", cx: x(at, last), cy: y(score), r: 1.9 }))),
  );
}

/** Why `idempotent` would mislead here: a trait that was not taken, or is gone; of a control nothing else is meant. */
function warnings(row) {
  if (row.control) return [];
  return [
    row.seeding === "taken" ? null : ["seeding", row.seeding],
    row.transmission === "lost" ? ["transmission", row.transmission] : null,
  ].filter(Boolean);
}

function verdicts(row) {
  const shown = [...warnings(row), ...["iteration", "coherence"].flatMap((id) => valuesOf(row, id).map((value) => [id, value]))];
  return h("ul", { class: "arm-verdicts", "aria-label": "Verdicts" }, shown.map(([id, value]) =>
    h("li", {}, badge(id, value, { pale: value === "idempotent" && row.qualified, before: id === "iteration" ? "" : `${TITLES[id].toLowerCase()} ` }))));
}

function figure(title, [value, low, high]) {
  const range = low === null || high === null ? "no interval" : `${signed(low)} to ${signed(high)}`;
  return [h("dt", {}, title), h("dd", {}, h("b", {}, value === null ? "\u2013" : signed(value)), ` (${range})`)];
}

/** What the lines mean; the control only where one is drawn. */
function legend(withControl) {
  const sample = (name, ...lines) => h("li", {}, svg("svg", { class: "arm-sample", viewBox: "0 0 30 12", "aria-hidden": "true" }, lines), name);
  return h(
    "ul",
    { class: "story-legend", "aria-label": "Lines in the small plots" },
    sample("trait, 0 to 100, with its 95 % interval", svg("path", { class: "arm-band", d: "M1 1H29V11H1Z" }), svg("path", { class: "arm-trait", d: "M1 6H29" })),
    sample("coherence", svg("path", { class: "arm-coherence", d: "M1 6H29" })),
    withControl ? sample("the trait in its control", svg("path", { class: "arm-control", d: "M1 6H29" })) : null,
  );
}

export class Story {
  /**
   * @param root Where it goes.
   * @param onToggle Called with the key of a record that is to join or leave the plot.
   * @param onTrait Called with the trait that is to be shown, or with nothing for all.
   */
  constructor(root, index, { onToggle, onTrait }) {
    this.claims = index.claims;
    this.entries = new Map(index.records.map((row, at) => [row.key, { row, detail: index.details[at] }]));
    this.onToggle = onToggle;
    this.onTrait = onTrait;
    this.drawn = null;
    this.buttons = new Map();
    this.picker = h("div", { class: "story-picker", role: "group", "aria-label": "Trait in the small plots" });
    this.legend = h("div", {});
    this.plots = h("div", {});
    this.sentences = h("div", {});
    root.replaceChildren(h("div", { class: "story-head" }, this.legend, this.picker), this.plots, this.sentences);
  }

  /** Show what the state asks for; `selected` are the keys in the plot. Returns what is shown, in words. */
  update(state, selected) {
    const shown = this.#choose(state);
    const asked = JSON.stringify([shown.model, shown.traits, shown.arms.map((group) => group.map(({ row }) => row.key)), FILTERS.map((name) => state[name])]);
    if (asked !== this.drawn) {
      this.drawn = asked;
      this.#draw(shown);
    }
    for (const button of this.plots.querySelectorAll(".arm-name")) {
      button.setAttribute("aria-pressed", String(selected.has(button.dataset.key)));
    }
    if (!shown.traits.length) return "Nothing passes these filters.";
    const where = this.models > 1 ? ` on ${shown.model}` : "";
    const more = shown.traits.length < shown.every.length ? `, of ${count(shown.every.length, "trait")}` : "";
    return `${shown.traits.join(", ")}${where}${more}`;
  }

  /** One model, and its traits: the chosen one, all if they are few, else the one with most protocols. */
  #choose(state) {
    const models = new Map();
    for (const { model } of this.claims) models.set(model, (models.get(model) ?? 0) + 1);
    this.models = models.size;
    const model = state.model || [...models].reduce((best, one) => (one[1] > best[1] ? one : best), ["", 0])[0];
    const claims = this.claims.filter((claim) => claim.model === model);
    const all = claims.flatMap((claim) => claim.keys.map((key) => ({ claim, ...this.entries.get(key) })));
    const every = [...new Set(all.map(({ row }) => row.trait))].sort();
    const passing = all.filter(({ row }) => passes(row, state));
    let traits = [...new Set(passing.map(({ row }) => row.trait))].sort();
    if (traits.length > MOST_TRAITS || passing.length > MOST_PLOTS) {
      const size = (trait) => passing.filter(({ row }) => row.trait === trait).length;
      traits = [traits.reduce((best, one) => (size(one) > size(best) ? one : best))];
    }
    const arms = traits.map((trait) => passing.filter(({ row }) => row.trait === trait));
    const sentences = claims.filter((claim) => ["protocol", "kind"].every((name) => !state[name] || field(claim, name) === state[name]));
    return { model, every, traits, arms, claims: sentences };
  }

  #draw(shown) {
    const cards = shown.arms.flat();
    this.legend.replaceChildren(...(cards.length ? [legend(cards.some(({ detail }) => detail.control?.trait))] : []));
    this.#pick(shown);
    this.plots.classList.toggle("few", shown.arms.every((group) => group.length <= FEW));
    this.plots.replaceChildren(...shown.traits.map((trait, at) => this.#trait(trait, shown.arms[at], shown.traits.length > 1)));
    this.sentences.replaceChildren(...(shown.claims.length ? [this.#claims(shown)] : []));
  }

  /** Buttons for the traits; made once for each list of traits, so that the focus stays. */
  #pick({ every, traits }) {
    const many = every.length > 1 && every.length <= MOST_BUTTONS;
    const wanted = many ? every : [];
    if (wanted.join("\n") !== [...this.buttons.keys()].join("\n")) {
      this.buttons = new Map(wanted.map((trait) => {
        const pressed = () => this.onTrait(this.buttons.get(trait).getAttribute("aria-pressed") === "true" ? "" : trait);
        return [trait, h("button", { type: "button", class: "pick-trait", listen: { click: pressed } }, trait)];
      }));
      this.picker.replaceChildren(...this.buttons.values());
    }
    for (const [trait, button] of this.buttons) button.setAttribute("aria-pressed", String(traits.length === 1 && traits[0] === trait));
  }

  #trait(trait, entries, titled) {
    const methods = [...new Set(entries.map(({ row }) => row.method))];
    return h(
      "section",
      { class: "story-trait", "aria-label": trait },
      titled ? h("h3", {}, trait) : null,
      h("div", { class: "story-groups" }, methods.map((method) =>
        h(
          "div",
          { class: "story-group", role: "group", "aria-label": method.toUpperCase() },
          h("h4", {}, method.toUpperCase()),
          h("ul", {}, entries.filter(({ row }) => row.method === method).map((entry) => this.#arm(entry))),
        ))),
    );
  }

  #arm({ row, detail }) {
    const drift = detail.control?.effects.find(({ name }) => name === "drift");
    return h(
      "li",
      { class: `arm${row.control ? " is-control" : ""}`, "data-key": row.key },
      h("button", { type: "button", class: "arm-name", title: "Put it into the large plot, or take it out", "data-key": row.key, listen: { click: () => this.onToggle(row.key) } }, row.protocol),
      h("p", { class: "arm-sub" }, row.control ? [controlTag(row), " ", leavesOut(row)] : `${row.mode}${row.form === "document" ? ", documents" : ""}, ${count(row.seeds.length, "seed")}`),
      plot(row, detail),
      verdicts(row),
      h("dl", { class: "arm-figures" }, figure("Drift", row.drift), drift ? figure(`Net of ${detail.control.protocol}`, drift.net) : null),
    );
  }

  #claims({ every, claims }) {
    const arms = claims.filter((claim) => !claim.control);
    const controls = claims.filter((claim) => claim.control);
    const list = (some) => h("ul", {}, some.map((claim) => this.#claim(claim)));
    return h(
      "section",
      { class: "claims" },
      h("h3", {}, every.length > 1 ? `Counted over ${count(every.length, "trait")}` : "In words"),
      arms.length ? list(arms) : null,
      controls.length ? h("details", { open: !arms.length }, h("summary", {}, count(controls.length, "control")), list(controls)) : null,
    );
  }

  #claim(claim) {
    const rows = claim.keys.map((key) => this.entries.get(key).row);
    const drifts = rows.slice(0, MOST_DRIFTS).map((row) => `${row.trait} ${estimate(row.drift)}`);
    return h(
      "li",
      { class: claim.control ? "claim-of is-control" : "claim-of", "data-protocol": claim.protocol },
      h("p", { class: "claim-head" }, h("b", {}, claim.protocol), " ", h("span", {}, manner(claim)), " ", controlTag(claim)),
      h("p", {}, claim.sentences.join(" ")),
      h("p", { class: "claim-drifts" }, `Drift: ${drifts.join(" · ")}${rows.length > MOST_DRIFTS ? " · \u2026" : ""}`),
    );
  }
}
