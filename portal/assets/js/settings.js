// The switches: tariff, retention, faults.

import * as api from "./api.js";
import { announce, byId, setText } from "./dom.js";
import { plural } from "./format.js";

export class Settings {
  constructor(attempt) {
    const change = (wish, said) => attempt(async () => {
      await api.change({ member_id: this.portal, ...wish });
      announce(said);
    });
    for (const name of ["tariff", "retention"]) {
      byId(name).addEventListener("change", ({ target }) => {
        const chosen = target.nextElementSibling.textContent;
        const legend = byId(name).querySelector("legend").textContent;
        change({ [name]: target.value }, `${legend}: ${chosen}`);
      });
    }
    byId("operating").addEventListener("change", ({ target }) => {
      const limit = target.value ? Number(target.value) : null;
      const said = `Operating limit: ${target.selectedOptions[0].textContent}`;
      change({ operating_limit: limit }, said);
    });
    byId("faults").addEventListener("change", ({ target }) => {
      const share = Number(target.value);
      const said = share ? "Random faults are on" : "Faults are off";
      change({ faults: share ? { share } : null }, said);
    });
    byId("plan-fault").addEventListener("click", () => {
      const fault = byId("next-fault");
      change({ next_fault: fault.value }, `Planned: ${fault.selectedOptions[0].textContent}`);
    });
  }

  show({ member_id: member, settings, faults, planned_faults: planned }) {
    this.portal = member;
    for (const name of ["tariff", "retention"]) {
      const radio = byId(name).querySelector(`input[value="${settings[name]}"]`);
      if (radio) radio.checked = true;
    }
    const limit = settings.operating_limit;
    choose(byId("operating"), limit === null ? "" : String(limit), `${limit} s in ten minutes`);
    this.showFaults(faults);
    byId("planned").hidden = planned === 0;
    setText(byId("planned"), `${plural(planned, "fault", "faults")} planned`);
  }

  showFaults(faults) {
    const share = faults ? String(faults.share) : "";
    choose(byId("faults"), share, `${(100 * share).toFixed(1)} % of requests`);
    byId("seed").hidden = !faults;
    if (faults) setText(byId("seed"), `Seed ${faults.seed}`);
    byId("settings").dataset.faults = Boolean(faults);
  }
}

/** Chooses a value in a list. A test may have set one that the list does not have. */
function choose(list, value, label) {
  // An open list must not change under the viewer's hand.
  if (document.activeElement === list) return;
  const known = [...list.options].some((option) => option.value === value);
  if (!known) list.append(new Option(label, value));
  list.value = value;
}
