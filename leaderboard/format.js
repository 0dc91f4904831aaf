/** Numbers and names as people read them. */

const MINUS = "\u2212";

/** Points with one decimal; an en dash for none. */
export function points(value) {
  if (value === null) return "\u2013";
  return (value === 0 ? 0 : value).toFixed(1).replace("-", MINUS);
}

/** Points with one decimal and a sign; what rounds to zero has none. */
export function signed(value) {
  const text = Math.abs(value).toFixed(1);
  if (text === "0.0") return text;
  return (value < 0 ? MINUS : "+") + text;
}

/** A number as one would say it: 10, 2.5. */
export function plain(value) {
  return String(value).replace("-", MINUS);
}

/** How many there are of something: `1 seed`, `3 seeds`. */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** A checkpoint's name in words. */
export function checkpoint(name) {
  if (name === "base") return "base model";
  return name === "c0" ? "cycle 0 (seeded)" : `cycle ${name.slice(1)}`;
}

/** The last part of a model's name. */
export function shortModel(name) {
  return name.slice(name.lastIndexOf("/") + 1) || name;
}

/** An effect with its interval: `+4.1 (1.0 to 7.2)`. */
export function estimate([value, low, high]) {
  if (value === null) return "\u2013";
  return `${signed(value)} (${low === null || high === null ? "no interval" : `${signed(low)} to ${signed(high)}`})`;
}

/** The seeds of a record: `3 seeds`, or `1 seed`. */
export function seeds(row) {
  return count(row.seeds.length, "seed");
}
