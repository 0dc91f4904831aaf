/**
 * Makes elements. The only module that creates nodes; strings become text nodes or attribute values, never
 * markup, so whatever a record says stays text.
 */

const SVG = "http://www.w3.org/2000/svg";

/** Attributes that could run or load something; nothing here needs them. */
const REFUSED = /^(on|style$|src|href|action|formaction|xlink)/i;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "listen") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (REFUSED.test(name)) {
      throw new Error(`The attribute ${name} is not set on this page.`);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, String(value));
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: `h("p", { class: "note" }, "text", h("b", {}, "more"))`. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Text for screen readers only. */
export function hidden(text) {
  return h("span", { class: "visually-hidden" }, text);
}
