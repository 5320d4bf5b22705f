// What an application needs to write to the log. Secrets are asked for only when the viewer wants
// to see or to copy them, and are forgotten when the viewer hides them or goes elsewhere.

import * as api from "./api.js";
import { announce, byId, h, setText } from "./dom.js";

const DOTS = "••••••••";

/** Commands to paste. Tokens and URLs of the portal have nothing that single quotes do not hold. */
const COMMANDS = [
  ["quickstart", ({ webhook, token }) =>
    [`BITRIX24_WEBHOOK_URL='${webhook}'`, `EVENT_TOKEN='${token}'`, "cargo run --example quickstart"]],
  ["curl", ({ webhook, token }) =>
    [
      `curl -d 'EVENT_TOKEN=${token}'`,
      "  --data-urlencode 'LOG_MESSAGE=Hello from curl'",
      `  ${webhook}bizproc.activity.log`,
    ]],
].map(([name, lines]) => [name, (secrets) => lines(secrets).join(" \\\n")]);

export class Connect {
  constructor(attempt) {
    this.attempt = attempt;
    this.id = "";
    this.build();
    byId("connect-toggle").addEventListener("click", () => this.open(byId("connect").hidden));
  }

  build() {
    this.activity = h("select", { id: "activity", onchange: () => this.forget() });
    this.token = h("output", { class: "secret", id: "event-token", for: "activity" });
    this.reveal = h("button", { type: "button", id: "reveal",
      onclick: () => this.attempt(() => this.toggle()) });
    this.commands = COMMANDS.map(([name, write]) => {
      const code = h("code", {});
      const copy = this.copyButton(`Copy the ${name} command`, (secrets) => write(secrets));
      const shown = h("pre", { tabindex: "0", id: `command-${name}` }, code);
      return { write, code, block: h("div", { class: "command" }, shown, copy) };
    });
    byId("connect").append(
      h("div", { class: "field" }, h("label", { for: "activity", text: "Activity" }),
        h("div", { class: "row" }, this.activity,
          h("button", { type: "button", id: "again",
            onclick: () => this.attempt(() => this.openAgain()) }))),
      h("div", { class: "field" }, h("label", { for: "event-token", text: "Event token" }),
        h("div", { class: "row" }, this.token, this.reveal,
          this.copyButton("Copy the event token", (secrets) => secrets.token))),
      ...this.commands.map(({ block }) => block));
  }

  copyButton(label, pick) {
    return h("button", { type: "button", "aria-label": label, text: "Copy",
      onclick: () => this.attempt(() => this.copy(pick)) });
  }

  open(wanted) {
    byId("connect").hidden = !wanted;
    byId("connect-toggle").setAttribute("aria-expanded", String(wanted));
    if (!wanted) this.forget();
  }

  show({ id, activities, stage, rest_url: restUrl }, written) {
    this.restUrl = restUrl;
    const names = activities.map((activity) => activity.name);
    if (this.names !== names.join("\n")) {
      this.names = names.join("\n");
      this.activity.replaceChildren(...names.map((name) => new Option(name)));
    }
    for (const [at, { name, open }] of activities.entries()) {
      setText(this.activity.options[at], open ? name : `${name} (closed)`);
      this.activity.options[at].value = name;
    }
    // A test may have started a workflow that has not come to any activity.
    const some = activities.length > 0;
    this.activity.hidden = !some;
    this.reveal.disabled = !some;
    setText(byId("again"), some ? "Open again" : "Open an activity");
    byId("again").title = some ? "The workflow comes to this activity again, with a new token" : "";
    byId("again").disabled = stage !== "running";
    if (id !== this.id) {
      this.id = id;
      this.forget();
      // Who looks at a log that no application wrote to yet will want to do so.
      this.open(!written && stage === "running");
    }
  }

  forget() {
    this.shown = null;
    this.draw();
  }

  async toggle() {
    this.shown = this.shown ? null : await this.secrets();
    this.draw();
  }

  draw() {
    const secrets = this.shown ?? { webhook: `${this.restUrl}${DOTS}/`, token: DOTS };
    setText(this.token, secrets.token);
    setText(this.reveal, this.shown ? "Hide" : "Reveal");
    for (const { write, code } of this.commands) setText(code, write(secrets));
  }

  async secrets() {
    const { webhook_url: webhook, activities } = await api.secrets(this.id);
    const chosen = activities.find(({ name }) => name === this.activity.value);
    return { webhook, token: chosen?.event_token ?? "" };
  }

  async copy(pick) {
    if (!this.activity.value) throw new Error("no activity is open");
    await navigator.clipboard.writeText(pick(await this.secrets()));
    announce("Copied");
  }

  async openAgain() {
    await api.openActivity(this.id, this.activity.value || "check");
    this.forget();
  }
}
