// Where the page begins: what is looked at, and the loop that keeps it fresh.

import * as api from "./api.js";
import { Apps } from "./apps.js";
import { announce, byId } from "./dom.js";
import { zone } from "./format.js";
import { LogPane } from "./log.js";
import { Meters } from "./meters.js";
import { Settings } from "./settings.js";
import { WorkflowList } from "./workflows.js";

/** The workflow that `#/ID` names; other places of the page have names of their own. */
function workflowInAddress() {
  return location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : "";
}

/** What the viewer looks at. The workflow stands in the address, so that a reload keeps it. */
const view = { search: "", workflow: workflowInAddress(), portal: null };

const meters = new Meters();
const settings = new Settings(attempt);
const log = new LogPane(attempt);
const apps = new Apps({ attempt, comeTo });
const list = new WorkflowList({ choose, start, attempt });

let refreshing = false;
let again = false;

/** Asks for everything that is shown. Asked meanwhile, it asks once more, not at the same time. */
async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  do {
    again = false;
    try {
      await show();
    } catch (error) {
      missed(error);
    }
  } while (again);
  refreshing = false;
}

function missed(error) {
  if (error.status === 404) {
    // Another portal has taken the place of the one that had this workflow.
    choose("");
  } else {
    // The portal is gone for now. The events say so, and when it is back.
    console.warn(error);
  }
}

async function show() {
  const state = await api.state(view.search);
  const portal = portalIn(state);
  if (!portal) return;
  showPortals(state, portal);
  if (!view.workflow && portal.workflows.length) view.workflow = portal.workflows[0].id;
  meters.show(portal, state.now);
  settings.show(portal);
  apps.show(portal);
  list.show(portal, view, state.now);
  await log.show(view.workflow, view.search, state.now);
}

function portalIn(state) {
  const wanted = view.portal ?? state.here;
  return state.portals.find((portal) => portal.member_id === wanted) ?? state.portals[0];
}

function showPortals(state, shown) {
  const choice = byId("portal");
  byId("address").textContent = new URL(shown.page_url).host;
  byId("portals").hidden = state.portals.length < 2;
  const known = [...choice.options].map((option) => option.value).join();
  if (known !== state.portals.map((portal) => portal.member_id).join()) {
    const label = (portal) => `${new URL(portal.page_url).host} (${portal.member_id.slice(0, 6)})`;
    const options = state.portals.map((portal) => new Option(label(portal), portal.member_id));
    choice.replaceChildren(...options);
  }
  choice.value = shown.member_id;
}

function choose(id) {
  view.workflow = id;
  history.replaceState(null, "", id && `#/${encodeURIComponent(id)}`);
  refresh();
}

async function start(wish) {
  const started = await api.startWorkflow({ ...wish, member_id: byId("portal").value });
  view.search = byId("search").value = "";
  choose(started.id);
}

/** The workflow that is shown comes to a registered activity; without one, another is started. */
async function comeTo(code) {
  const { stage } = view.workflow ? await api.log(view.workflow, {}) : { stage: "" };
  if (stage === "running") return api.openRegistered(view.workflow, code);
  const wish = { member_id: byId("portal").value, title: code, registered: code };
  return choose((await api.startWorkflow(wish)).id);
}

/** Does what the viewer asked for, and says so if the portal refused. */
async function attempt(deed) {
  try {
    await deed();
  } catch (error) {
    announce(`That did not work: ${error.message}.`);
  }
  refresh();
}

function live(connected) {
  const status = byId("live");
  status.dataset.connected = connected;
  status.querySelector("span").textContent = connected ? "Live" : "Reconnecting";
}

let typing;
byId("search").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    view.search = event.target.value.trim();
    refresh();
  }, 120);
});

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, textarea, select, dialog");
  if (event.key === "/" && !busy && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    byId("search").focus();
  }
});

byId("portal").addEventListener("change", (event) => {
  Object.assign(view, { portal: event.target.value, workflow: "" });
  refresh();
});

window.addEventListener("hashchange", () => {
  if (workflowInAddress()) choose(workflowInAddress());
});

byId("zone").textContent = zone.replaceAll("_", " ");
api.listen(refresh, live);
