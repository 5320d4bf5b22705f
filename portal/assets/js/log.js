// The process log of one workflow, newest entry first.

import * as api from "./api.js";
import { Connect } from "./connect.js";
import { byId, h, keyed, setText } from "./dom.js";
import { dayOf, isoTime, fullTime, number, plural, timeOfDay } from "./format.js";
import { entryRow } from "./entry.js";
import { whereItIs } from "./workflows.js";

/** Rows that stay on a page that is left open. */
const ROWS = 400;

const REASONS = {
  completed: "the activity had been completed",
  timed_out: "the activity had run out of time",
  no_subscription: "the activity does not wait for the application",
  left: "the workflow has left the activity",
  unknown_activity: "the workflow has no such activity",
  document_gone: "the document is gone",
  background: "the background job of the end has failed",
};

export class LogPane {
  constructor(attempt) {
    this.connect = new Connect(attempt);
    this.forget("", "");
    byId("older").addEventListener("click", () => attempt(() => this.older()));
    byId("finish").addEventListener("click", () => attempt(() => api.finish(this.id)));
    byId("line-breaks").addEventListener("change", ({ target }) => {
      byId("entries").dataset.lineBreaks = target.checked;
    });
  }

  forget(id, search) {
    Object.assign(this, { id, search, rows: [], room: ROWS, more: false, fresh: false });
    this.generation = {};
  }

  /** Shows a workflow: all of it if it is another one, and otherwise what is new. */
  async show(id, search, now) {
    if (id !== this.id || search !== this.search) this.forget(id, search);
    byId("no-workflow").hidden = Boolean(id);
    byId("workflow").hidden = !id;
    if (!id) return;
    const generation = this.generation;
    const after = this.rows[0]?.sequence ?? null;
    const workflow = await api.log(id, { search, after });
    // Meanwhile the viewer may have gone elsewhere.
    if (generation !== this.generation) return;
    this.take(workflow, after);
    this.head(workflow);
    this.lost(workflow);
    this.returned(workflow);
    this.list(workflow, now);
    this.connect.show(workflow, Boolean(search) || this.rows.some((row) => row.kind === "custom"));
  }

  /** Puts the new rows before those that are there, and lets go of those that rolled off. */
  take({ log, more, kept_from: keptFrom }, after) {
    const gap = after !== null && more;
    const isKept = (row) => row.kind === "report" || row.sequence >= keptFrom;
    const kept = gap ? [] : this.rows.filter(isKept);
    if (after === null || gap) this.more = more;
    this.rows = [...log, ...kept];
    if (log.length && this.rows.length > this.room) {
      this.rows.length = this.room;
      this.more = true;
    }
  }

  async older() {
    const generation = this.generation;
    const before = this.rows.at(-1)?.sequence ?? null;
    const { log, more } = await api.log(this.id, { search: this.search, before });
    // Meanwhile so much may have been written that the rows no longer reach down to there.
    if (generation !== this.generation || this.rows.at(-1)?.sequence !== before) return;
    this.rows.push(...log);
    this.more = more;
    // What the viewer asked for is not taken away when the next entry comes.
    this.room = Math.max(ROWS, this.rows.length);
  }

  head(workflow) {
    const { id, title, stage, started, terminated } = workflow;
    setText(byId("title"), title);
    setText(byId("workflow-id"), id);
    setText(byId("started"), `started ${fullTime(started)}`);
    setText(byId("stage"), whereItIs(workflow));
    byId("stage").dataset.stage = stage;
    byId("finish").hidden = stage !== "running";
    byId("terminated").hidden = terminated === undefined;
    if (terminated !== undefined) setText(byId("terminated"), `Terminated: ${terminated}`);
    document.title = `${title} – Stand-in portal`;
  }

  lost({ lost, lost_entries: entries }) {
    byId("lost").hidden = lost === 0;
    const summary = byId("lost").querySelector("summary");
    const listed = entries.length < lost ? `, the newest ${entries.length} of them here` : "";
    setText(summary, `${plural(lost, "text was", "texts were")} lost silently${listed}`);
    keyed(byId("lost-entries"), entries, {
      key: (entry) => entry.sequence,
      create: ({ at, activity, text, reason }) => h("li", {},
        h("time", { datetime: isoTime(at), title: fullTime(at), text: timeOfDay(at) }),
        h("p", { class: "text", text }),
        h("p", { class: "quiet", text: `${activity}: ${REASONS[reason] ?? reason}` })),
    });
  }

  /** What the activities have returned, and what a real portal would have dropped. */
  returned({ returned }) {
    const ended = returned.filter((activity) => activity.return_values !== null);
    byId("returned").hidden = ended.length === 0;
    keyed(byId("returned"), ended, {
      key: ({ name, return_values: values }) => `${name} ${JSON.stringify(values)}`,
      create: ({ name, return_values: values, undeclared }) => h("dl", { "data-activity": name },
        h("dt", { text: `${name} has returned` }),
        ...Object.entries(values).map(([key, value]) =>
          h("dd", {}, h("code", { text: key }), ` ${value}`)),
        Object.keys(values).length ? "" : h("dd", { class: "quiet", text: "nothing" }),
        ...undeclared.map((key) =>
          h("dd", { class: "undeclared", text: `${key} was not declared: dropped` }))),
    });
  }

  list({ entries, rolled_off: rolled }, now) {
    const { rows, search } = this;
    setText(byId("entry-count"), search ? "" : number(entries));
    byId("rolled-off").hidden = rolled === 0;
    const older = plural(rolled, "older one has", "older ones have");
    setText(byId("rolled-off"), `The portal keeps the newest 50 entries. ${older} rolled off.`);
    const today = dayOf(now);
    keyed(byId("entries"), rows, {
      // A row is made for one search, with its places marked.
      key: (row) => `${this.id} ${row.sequence} ${search}`,
      create: (row) => entryRow(row, { search, today, fresh: this.fresh }),
    });
    // What was there when the viewer came is not news.
    this.fresh = true;
    byId("older").hidden = !this.more;
    byId("nothing").hidden = rows.length > 0;
    setText(byId("nothing"), search
      ? `No entry of this workflow has “${search}” in it.`
      : "Nothing is written yet. Entries appear here as they come, without a reload.");
  }
}
