// The list of workflows, and the dialog that starts one.

import { byId, h, keyed, marked, setText } from "./dom.js";
import { ago, number, plural } from "./format.js";

/** Orders begin somewhere in the middle, as they do. */
const FIRST_ORDER = 1042;

export class WorkflowList {
  constructor({ choose, start, attempt }) {
    this.choose = choose;
    this.count = 0;
    const dialog = byId("starting");
    for (const button of ["start", "start-first"]) {
      byId(button).addEventListener("click", () => this.ask());
    }
    byId("cancel").addEventListener("click", () => dialog.close());
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      attempt(() => start({
        title: byId("new-title").value,
        activity: byId("new-activity").value,
        handler: byId("new-handler").value,
      }));
    });
  }

  ask() {
    byId("new-title").value = `Order ${FIRST_ORDER + this.count}`;
    byId("new-activity").value = "check";
    byId("starting").showModal();
    byId("new-title").select();
  }

  show({ workflows, matching, workflow_count: count }, view, now) {
    this.count = count;
    const all = number(count);
    setText(byId("workflow-count"), view.search ? `${number(matching)} of ${all}` : all);
    keyed(byId("workflows"), workflows, {
      key: (workflow) => workflow.id,
      create: (workflow) => this.item(workflow),
      update: (item, workflow) => update(item, workflow, view, now),
    });
    const unseen = matching - workflows.length;
    const empty = byId("no-match");
    empty.hidden = workflows.length > 0 && unseen === 0;
    if (unseen > 0) setText(empty, `${number(unseen)} older ones are not listed. Search for them.`);
    else if (view.search) setText(empty, `Nothing has “${view.search}” in it.`);
    else setText(empty, "None yet.");
  }

  item(workflow) {
    return h("li", {},
      h("button", { type: "button", onclick: () => this.choose(workflow.id) },
        h("span", { class: "name" }),
        h("span", { class: "tally" }),
        h("span", { class: "where" }),
        h("span", { class: "when" })));
  }
}

function update(item, workflow, view, now) {
  const button = item.firstElementChild;
  const [name, tally, where, when] = button.children;
  if (name.dataset.shown !== `${view.search}\n${workflow.title}`) {
    name.replaceChildren(...marked(workflow.title, view.search));
    name.dataset.shown = `${view.search}\n${workflow.title}`;
  }
  setText(tally, view.search
    ? plural(workflow.matches, "match", "matches")
    : plural(workflow.entries, "entry", "entries"));
  setText(where, whereItIs(workflow));
  setText(when, ago(workflow.last_entry_at ?? workflow.started, now));
  button.dataset.stage = workflow.stage;
  button.setAttribute("aria-current", String(workflow.id === view.workflow));
}

/** How far the workflow is, in a few words. */
export function whereItIs({ stage, activities }) {
  if (stage !== "running") return stage;
  const open = activities.filter((activity) => activity.open).map((activity) => activity.name);
  return open.length ? `waits at ${open.join(", ")}` : "running";
}
