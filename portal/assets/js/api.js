// The interface of the portal's page.

async function answer(response) {
  const json = response.headers.get("Content-Type")?.startsWith("application/json");
  const body = json ? await response.json() : null;
  if (!response.ok) {
    const error = new Error(body?.error ?? `the portal answered ${response.status}`);
    throw Object.assign(error, { status: response.status });
  }
  return body;
}

function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

const get = async (path, fields = {}) => answer(await fetch(path + query(fields)));

const post = async (path, body) => answer(await fetch(path, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
}));

const at = (id) => `/api/workflows/${encodeURIComponent(id)}`;

export const state = (search) => get("/api/state", { search });
export const log = (id, wanted) => get(at(id), wanted);
export const secrets = (id) => get(`${at(id)}/secrets`);
export const startWorkflow = (wish) => post("/api/workflows", wish);
export const openRegistered = (id, code) => post(`${at(id)}/activities`, { registered: code });
export const install = (wish) => post("/api/apps", wish);
export const deed = (id, name) => post(`/api/apps/${encodeURIComponent(id)}/${name}`, {});
export const appSecrets = (id) => get(`/api/apps/${encodeURIComponent(id)}/secrets`);
export const move = (wish) => post("/api/move", wish);
export const openActivity = (id, activity) => post(`${at(id)}/activities`, { activity });
export const finish = (id) => post(`${at(id)}/finish`, {});
export const change = (wish) => post("/api/settings", wish);

/** Calls `told` after each change and each second; `live` hears whether the portal is there. */
export function listen(told, live) {
  const events = new EventSource("/api/events");
  events.addEventListener("open", () => live(true));
  events.addEventListener("error", () => live(false));
  for (const name of ["change", "tick"]) {
    events.addEventListener(name, () => told(name));
  }
}
