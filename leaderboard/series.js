/** What tells selected records apart: a colour, a marker and a dash each, so that colour is never needed alone. */

import { svg } from "./dom.js";

const DASHES = [null, "7 4", "2 3.5", "10 3 2 3", "5 2.5", "12 4", "1.5 2.5", "8 3 2 3 2 3"];

const MARKERS = [
  "M0-4.4A4.4 4.4 0 1 1 0 4.4 4.4 4.4 0 1 1 0-4.4Z",
  "M-3.9-3.9H3.9V3.9H-3.9Z",
  "M0-5 4.9 3.7H-4.9Z",
  "M0-5.3 4.8 0 0 5.3-4.8 0Z",
  "M0 5-4.9-3.7H4.9Z",
  "M-1.6-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",
  "M0-6.8 2.1-2.1 6.8 0 2.1 2.1 0 6.8-2.1 2.1-6.8 0-2.1-2.1Z",
  "M-2.5-4.4H2.5L5 0 2.5 4.4H-2.5L-5 0Z",
];

/** Keeps a record's look while it stays selected, whatever else comes and goes. */
export class Looks {
  #slots = [];

  /** Give every selected key a slot, 0-based; returns a map from key to slot. */
  assign(keys) {
    this.#slots = this.#slots.map((key) => (keys.includes(key) ? key : null));
    for (const key of keys) {
      if (this.#slots.includes(key)) continue;
      const free = this.#slots.indexOf(null);
      if (free < 0) this.#slots.push(key);
      else this.#slots[free] = key;
    }
    return new Map(keys.map((key) => [key, this.#slots.indexOf(key)]));
  }
}

export function dash(slot) {
  return DASHES[slot % DASHES.length];
}

export function marker(slot, attributes = {}) {
  return svg("path", { class: "marker", d: MARKERS[slot % MARKERS.length], ...attributes });
}

/** A short piece of the line with its marker, for legends. */
export function swatch(slot) {
  return svg(
    "svg",
    { class: `swatch series-${slot}`, viewBox: "-15 -7 30 14", "aria-hidden": "true" },
    svg("path", { class: "line", d: "M-14 0H14", "stroke-dasharray": dash(slot) }),
    marker(slot),
  );
}
