// The switches: every setting that the portal names, and faults.

import * as api from "./api.js";
import { announce, byId, h, setText } from "./dom.js";
import { plural } from "./format.js";

/** What the page shows without being asked; everything else is behind "More settings". */
const FIRST = ["tariff", "retention", "operating"];

/** Where the portal's word is not the best one for people. */
const LABELS = { retention: "Log keeps", operating: "Operating limit" };
const WORDS = { self_hosted: "Everything", cloud: "Newest 50", open: "Nothing" };

/** What to offer where the portal would take anything. */
const OFFERS = {
  operating: [
    ["off", "Off, as self-hosted"],
    ["420", "420 s in ten minutes"],
    ["480", "480 s in ten minutes"],
    ["1", "1 s, to meet it soon"],
  ],
};

const readable = (word) => word.charAt(0).toUpperCase() + word.slice(1).replaceAll("_", " ");
const label = (name) => LABELS[name] ?? readable(name);
const choiceLabel = (word) => WORDS[word] ?? readable(word);

export class Settings {
  constructor(attempt) {
    this.controls = new Map();
    this.change = (wish, said) => attempt(async () => {
      await api.change({ member_id: this.portal, ...wish });
      announce(said);
    });
    byId("faults").addEventListener("change", ({ target }) => {
      const share = Number(target.value);
      const said = share ? "Random faults are on" : "Faults are off";
      this.change({ faults: share ? { share } : null }, said);
    });
    byId("plan-fault").addEventListener("click", () => {
      const fault = byId("next-fault");
      this.change({ next_fault: fault.value }, `Planned: ${fault.selectedOptions[0].textContent}`);
    });
  }

  show({ member_id: member, settings, faults, planned_faults: planned }) {
    this.portal = member;
    for (const setting of settings) {
      if (!this.controls.has(setting.name)) this.add(setting);
      this.controls.get(setting.name)(setting.value);
    }
    this.showFaults(faults);
    byId("planned").hidden = planned === 0;
    setText(byId("planned"), `${plural(planned, "fault", "faults")} planned`);
  }

  /** Makes the control of a setting, and keeps how to show a value in it. */
  add(setting) {
    const set = (value, shown) =>
      this.change({ [setting.name]: value }, `${label(setting.name)}: ${shown}`);
    const offers = OFFERS[setting.name] ?? setting.choices.map((word) => [word, choiceLabel(word)]);
    const make = offers.length === 0 ? field : offers.length > 3 ? list : buttons;
    const [element, show] = make(setting, offers, set);
    element.title = setting.about;
    byId(FIRST.includes(setting.name) ? "first-settings" : "more-settings").append(element);
    this.controls.set(setting.name, show);
  }

  showFaults(faults) {
    const share = faults ? String(faults.share) : "";
    choose(byId("faults"), share, `${(100 * share).toFixed(1)} % of requests`);
    byId("seed").hidden = !faults;
    if (faults) setText(byId("seed"), `Seed ${faults.seed}`);
    byId("settings").dataset.faults = Boolean(faults);
  }
}

/** A few choices: all of them are seen. */
function buttons({ name }, offers, set) {
  const radios = offers.map(([value, text]) => {
    const radio = h("input", { type: "radio", name, value, onchange: () => set(value, text) });
    return [radio, h("label", {}, radio, h("span", { text }))];
  });
  const element = h("fieldset", { class: "choice wide", id: name },
    h("legend", { text: label(name) }), ...radios.map(([, shown]) => shown));
  return [element, (value) => {
    for (const [radio] of radios) radio.checked = radio.value === value;
  }];
}

/** Many choices. */
function list({ name }, offers, set) {
  const select = h("select", { id: name,
    onchange: () => set(select.value, select.selectedOptions[0].textContent) });
  select.append(...offers.map(([value, text]) => new Option(text, value)));
  const element = h("div", { class: "field" }, h("label", { for: name, text: label(name) }), select);
  return [element, (value) => choose(select, value, value)];
}

/** Anything: the shape says what. */
function field({ name, shape }, offers, set) {
  const input = h("input", { id: name, placeholder: shape, autocomplete: "off", spellcheck: "false",
    onchange: () => set(input.value, input.value || "nothing") });
  const element = h("div", { class: "field" }, h("label", { for: name, text: label(name) }), input);
  return [element, (value) => {
    // What the viewer is typing must not change under the hand.
    if (document.activeElement !== input) input.value = value;
  }];
}

/** Chooses a value in a list. A test may have set one that the list does not have. */
function choose(select, value, text) {
  // An open list must not change under the viewer's hand.
  if (document.activeElement === select) return;
  const known = [...select.options].some((option) => option.value === value);
  if (!known) select.append(new Option(text, value));
  select.value = value;
}
