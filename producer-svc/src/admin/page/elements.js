// Elements of the page. Whatever comes from outside becomes text, never HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element with attributes (`onclick` and so on are listeners) and children, texts among them. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for a drawing. */
export function drawn(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** Sets a text, and touches nothing where it is the same: what a reader has selected stays so. */
export function say(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/**
 * Makes the children of `parent` those of `items`, in their order. An item that was there keeps its
 * element, and with it focus and what is unfolded; `update` brings it up to date.
 */
export function keep(parent, items, keyOf, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
  }
  for (const gone of known.values()) gone.remove();
}

/** Shows either the list or what is said while it is empty. */
export function listOrEmpty(place, list, empty, isEmpty) {
  const wanted = isEmpty ? empty : list;
  if (place.firstElementChild !== wanted || place.childElementCount !== 1) place.replaceChildren(wanted);
}

/** What to do where there is nothing yet. */
export function empty(text, command) {
  return element("div", { class: "empty" }, element("p", {}, text), command ? element("pre", {}, command) : null);
}

const WHOLE = new Intl.NumberFormat("en");
export const number = (value) => WHOLE.format(value);

export const clock = (time) =>
  new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const moment = (time) => {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? String(time) : `${at.toLocaleDateString("en-CA")} ${clock(at)}`;
};

/** Minor units of a currency as people write it; `notation` as Intl has it. */
export function money(currency, minor, notation = "standard") {
  try {
    const options = { style: "currency", currency, currencyDisplay: "narrowSymbol" };
    const digits = new Intl.NumberFormat("en", options).resolvedOptions().maximumFractionDigits;
    return new Intl.NumberFormat("en", { ...options, notation }).format(minor / 10 ** digits);
  } catch {
    return `${number(minor)} ${currency}`;
  }
}

/** A key, value or header as the API shows it: `{text, bytes, cut}` or null. */
export function shownText(shown) {
  if (shown === null) return "(null)";
  return shown.cut ? `${shown.text}… (cut: ${number(shown.bytes)} bytes in all)` : shown.text;
}
