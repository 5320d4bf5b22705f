"use strict";

// Everything that comes from a log is set as text, never as markup.
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

async function logOf(id) {
  const answer = await fetch(`/api/workflows/${encodeURIComponent(id)}`);
  const workflow = await answer.json();
  const section = document.createElement("section");
  section.append(element("h2", workflow.title));
  const list = document.createElement("ul");
  for (const entry of workflow.log) {
    const item = element("li", "");
    item.append(element("time", new Date(entry.at * 1000).toLocaleString()));
    item.append(document.createTextNode(entry.text));
    list.append(item);
  }
  section.append(list);
  return section;
}

async function show() {
  const state = await (await fetch("/api/state")).json();
  const ids = state.portals.flatMap((portal) => portal.workflows.map((workflow) => workflow.id));
  document.getElementById("logs").replaceChildren(...(await Promise.all(ids.map(logOf))));
}

document.getElementById("start").addEventListener("click", async () => {
  const answer = await fetch("/api/workflows", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: "{}",
  });
  document.getElementById("token").textContent = (await answer.json()).event_token;
});

new EventSource("/api/events").addEventListener("change", show);
