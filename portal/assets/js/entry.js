// One entry of a process log, as the portal shows it.

import { h, marked } from "./dom.js";
import { bytes, dayOf, fullTime, isoTime, timeOfDay } from "./format.js";

/** Characters from which an entry is shown in part, until the viewer asks for all of it. */
const LONG = 1500;

const KINDS = { executed: "began", closed: "ended", report: "report", fault: "failed" };

export function entryRow(row, { search, today, fresh }) {
  const { at, activity, kind } = row;
  const day = dayOf(at);
  const text = h("p", { class: "text" }, ...pieces(row, search));
  const time = h("time", { datetime: isoTime(at), title: fullTime(at) }, timeOfDay(at));
  if (day !== today) time.append(h("span", { class: "day", text: day }));
  const item = h("li", { class: "entry", "data-kind": kind, "data-fresh": fresh },
    time, h("p", { class: "origin" }, ...marked(activity, search), kindNote(kind)), text);
  if (row.text.length > LONG) {
    item.dataset.long = "folded";
    item.append(unfold(item, row.text));
  }
  return item;
}

function kindNote(kind) {
  return KINDS[kind] ? h("span", { class: "kind", text: KINDS[kind] }) : "";
}

/** The text, with what the portal makes of its notations. */
function pieces({ text, segments }, search) {
  if (!text) return [h("span", { class: "quiet", text: "(an entry without text)" })];
  if (!segments) return marked(text, search);
  return segments.flatMap((piece) => {
    if (piece.kind === "text") return marked(piece.text, search);
    if (piece.kind === "name") {
      const title = "The portal put a name here";
      return [h("span", { class: "converted", title, text: piece.text })];
    }
    return [h("time", {
      class: "converted",
      datetime: isoTime(piece.unix),
      title: `[timestamp=${piece.unix}]${piece.text}[/timestamp]`,
      text: fullTime(piece.unix),
    })];
  });
}

function unfold(item, text) {
  const all = `Show all ${bytes(new TextEncoder().encode(text).length)}`;
  const button = h("button", { type: "button", class: "unfold", "aria-expanded": "false" });
  button.textContent = all;
  button.addEventListener("click", () => {
    const folded = item.dataset.long === "folded";
    item.dataset.long = folded ? "unfolded" : "folded";
    button.setAttribute("aria-expanded", String(folded));
    button.textContent = folded ? "Show less" : all;
  });
  return button;
}
