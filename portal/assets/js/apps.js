// Applications: what they are, what is done to them, and what the portal has sent to them. Secrets
// are asked for only when the viewer wants to see them.

import * as api from "./api.js";
import { announce, byId, h, keyed, setText } from "./dom.js";
import { isoTime, plural, timeOfDay } from "./format.js";

/** What can be done to an application: the deed, what the button says, and what is said after. */
const DEEDS = [
  ["expire", "Expire tokens", "Access tokens have expired"],
  ["spend", "Spend refresh tokens", "Refresh tokens are spent"],
  ["revoke", "Revoke", "Every token is revoked"],
  ["unpaid", "Unpaid", "The subscription has run out"],
  ["paid", "Paid again", "The subscription is paid"],
  ["finish", "Finish installation", "The installation is finished"],
  ["open", "Open its page", "The page was opened"],
  ["update", "Update", "The next version is installed"],
  ["update_token", "Update, new token", "The next version has another application token"],
  ["uninstall", "Uninstall", "The application is removed"],
];

/** What makes sense now. */
function fits(deed, { stage, paid, has_page: hasPage }) {
  if (stage === "removed") return false;
  if (deed === "unpaid") return paid;
  if (deed === "paid") return !paid;
  if (deed === "finish") return stage === "pending";
  if (deed === "open") return hasPage;
  return true;
}

export class Apps {
  constructor({ attempt, comeTo }) {
    Object.assign(this, { attempt, comeTo });
    const dialog = byId("installing");
    byId("new-app").addEventListener("click", () => dialog.showModal());
    byId("cancel-install").addEventListener("click", () => dialog.close());
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      attempt(() => this.install());
    });
    byId("move").addEventListener("click", () => attempt(async () => {
      const moved = await api.move({ member_id: this.portal });
      announce(`The portal is at ${moved.public_url} now`);
    }));
  }

  async install() {
    const url = byId("install-at").value.trim();
    const how = byId("install-how").value;
    await api.install({ member_id: this.portal, own: byId("install-own").checked, [how]: url });
    announce("The application is installed");
  }

  show({ member_id: member, apps, sent }) {
    this.portal = member;
    setText(byId("app-count"), String(apps.length));
    byId("no-app").hidden = apps.length > 0;
    keyed(byId("app-list"), apps, {
      key: (app) => app.client_id,
      create: (app) => this.item(app),
      update: (item, app) => this.update(item, app),
    });
    this.showSent(sent);
  }

  item({ client_id: id }) {
    const act = (deed, said) => this.attempt(async () => {
      await api.deed(id, deed);
      announce(said);
    });
    const deeds = DEEDS.map(([deed, label, said]) => h("button",
      { type: "button", class: "small", "data-deed": deed, text: label,
        onclick: () => act(deed, said) }));
    const secrets = h("dl", { class: "secrets", hidden: true });
    const reveal = h("button", { type: "button", class: "small", "data-deed": "reveal",
      text: "Reveal secrets", onclick: () => this.attempt(() => this.reveal(id, secrets, reveal)) });
    return h("li", { class: "app" },
      h("p", { class: "app-head" }, h("code", { text: id }), h("span", { class: "quiet" })),
      h("div", { class: "deeds" }, reveal, ...deeds), secrets, h("ul", { class: "registered" }));
  }

  update(item, app) {
    item.dataset.stage = app.stage;
    const facts = [`version ${app.version}`, app.stage];
    if (!app.paid) facts.push("unpaid");
    if (app.own) facts.push("of this portal's workflows");
    setText(item.querySelector(".app-head span"), facts.join(", "));
    for (const button of item.querySelectorAll("button[data-deed]")) {
      const deed = button.dataset.deed;
      button.hidden = deed !== "reveal" && !fits(deed, app);
    }
    keyed(item.querySelector(".registered"), app.registered, {
      key: ({ code }) => code,
      create: ({ code, name, kind }) => h("li", {},
        h("span", { text: `${name} ` }), h("code", { text: code }),
        h("span", { class: "quiet", text: ` ${kind}` }),
        h("button", { type: "button", class: "small", "data-code": code, text: "Come to it",
          onclick: () => this.attempt(() => this.comeTo(code)) })),
    });
  }

  async reveal(id, list, button) {
    if (!list.hidden) {
      list.hidden = true;
      list.replaceChildren();
      setText(button, "Reveal secrets");
      return;
    }
    const secrets = await api.appSecrets(id);
    const rows = Object.entries(secrets).filter(([name]) => name !== "client_id");
    list.replaceChildren(...rows.flatMap(([name, value]) => [
      h("dt", { text: name }), h("dd", { "data-secret": name, text: String(value) }),
    ]));
    list.hidden = false;
    setText(button, "Hide secrets");
  }

  showSent(sent) {
    const failed = sent.filter((one) => one.failed).length;
    byId("sent").hidden = sent.length === 0;
    byId("sent").dataset.failed = failed > 0;
    const failures = failed ? `, ${plural(failed, "failure", "failures")}` : "";
    setText(byId("sent").querySelector("summary"), `Sent to applications${failures}`);
    keyed(byId("sent-list"), sent, {
      key: ({ number }) => number,
      create: ({ at, what, url }) => h("li", {},
        h("time", { datetime: isoTime(at), text: timeOfDay(at) }),
        h("span", { text: what }), h("span", { class: "quiet", text: url }),
        h("span", { class: "outcome" })),
      update: (item, { failed: bad, delivery }) => {
        item.dataset.failed = bad;
        setText(item.querySelector(".outcome"), delivery ?? "under way");
      },
    });
  }
}
