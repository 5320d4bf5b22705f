// Counters, and limits as gauges.

import { byId, h, setText } from "./dom.js";
import { bytes, number, plural } from "./format.js";

const COUNTERS = [
  ["requests", "Requests", ({ bytes: size }) => `${bytes(size)} received`],
  ["entries", "Entries", ({ commands }) =>
    commands ? `of ${plural(commands, "command", "commands")}` : "none yet"],
  ["lines", "Lines", ({ lines, entries }) =>
    entries ? `${(lines / entries).toFixed(1)} per entry` : "none yet"],
  ["refused_requests", "Refused requests", ({ refused_commands: commands }) =>
    commands ? `${plural(commands, "command", "commands")} refused` : "no command"],
  ["lost", "Silently lost", () => "answered with true"],
];

export class Meters {
  constructor() {
    this.counters = COUNTERS.map(([name, label, explain]) => {
      const value = h("dd", {});
      const note = h("dd", { class: "quiet" });
      const card = h("dl", { class: "meter", id: `counter-${name}` },
        h("dt", { text: label }), value, note);
      return { name, explain, value, note, card };
    });
    this.rate = gauge("rate", "Rate limit");
    this.operating = gauge("operating", "Operating limit");
    byId("meters").append(
      ...this.counters.map(({ card }) => card), this.rate.card, this.operating.card);
  }

  show({ counters, gauges }, now) {
    // A batch may be answered well, and its commands not.
    const alarming = {
      refused_requests: counters.refused_requests + counters.refused_commands > 0,
      lost: counters.lost > 0,
    };
    for (const { name, explain, value, note, card } of this.counters) {
      setText(value, number(counters[name]));
      setText(note, explain(counters));
      card.dataset.alarm = Boolean(alarming[name]);
    }
    this.showRate(gauges.rate);
    this.showOperating(gauges.operating, now);
  }

  showRate(rate) {
    if (!rate) return fill(this.rate, null, "Off", "no limit");
    const level = Math.max(0, Math.ceil(rate.level - 1e-6));
    fill(this.rate, level / rate.capacity, number(level), `drains ${rate.per_second} a second`,
      ` / ${number(rate.capacity)}`);
  }

  showOperating(operating, now) {
    if (!operating) return fill(this.operating, null, "Off", "as self-hosted");
    const { used, limit, blocked_until: until } = operating;
    const note = until > now
      ? `blocked for ${number(Math.ceil(until - now))} s`
      : "in ten minutes";
    // A method that is blocked has its time forgotten, but it is not free.
    fill(this.operating, until > now ? 1 : used / limit, used.toFixed(1), note,
      ` / ${number(limit)} s`);
  }
}

function gauge(name, label) {
  const value = h("span", {});
  const limit = h("span", { class: "limit" });
  const note = h("dd", { class: "quiet" });
  const bar = h("i", {});
  const track = h("dd", { class: "track", role: "meter", "aria-label": label,
    "aria-valuemin": "0", "aria-valuemax": "100" }, bar);
  const card = h("dl", { class: "meter gauge", id: `gauge-${name}` },
    h("dt", { text: label }), note, h("dd", { class: "level" }, value, limit), track);
  return { value, limit, note, bar, track, card };
}

/** Shows how much of a limit is used; `share` is null where there is no limit. */
function fill({ value, limit, note, bar, track, card }, share, text, explanation, of = "") {
  setText(value, text);
  setText(limit, of);
  setText(note, explanation);
  const percent = Math.min(100, Math.max(0, (share ?? 0) * 100));
  bar.style.setProperty("--share", `${percent}%`);
  track.setAttribute("aria-valuenow", String(Math.round(percent)));
  track.setAttribute("aria-valuetext", `${text}${of}, ${explanation}`);
  card.dataset.level = share === null ? "off" : levelOf(share);
}

function levelOf(share) {
  if (share >= 0.9) return "full";
  return share >= 0.6 ? "high" : "low";
}
