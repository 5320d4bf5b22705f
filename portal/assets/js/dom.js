// Elements, made without markup: every text, from a log above all, is set as text.

/** An element. Attributes that are null or false are left out; `on..` are listeners. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (key === "text") element.textContent = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Sets a text only if it differs, so that a selection in it survives. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes the children of `parent` those of `items`, in their order. An item that was there keeps
 * its element: focus, selection and scroll position survive a refresh.
 */
export function keyed(parent, items, { key, create, update }) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    let element = before.get(id);
    before.delete(id);
    if (!element) {
      element = create(item);
      element.dataset.key = id;
    }
    update?.(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of before.values()) gone.remove();
}

/** The text with each place that has `search` marked. */
export function marked(text, search) {
  if (!search) return [text];
  const pattern = search.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  // With a group, the parts at odd places are those that matched.
  const parts = text.split(new RegExp(`(${pattern})`, "gi"));
  return parts.map((part, at) => (at % 2 ? h("mark", {}, part) : part)).filter((part) => part);
}

let announcing;

/** Says something to everyone: a line at the bottom of the page, read out by screen readers. */
export function announce(text) {
  const line = byId("notice");
  line.textContent = text;
  line.hidden = false;
  clearTimeout(announcing);
  announcing = setTimeout(() => (line.hidden = true), 4000);
}
