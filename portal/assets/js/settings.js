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
        change({ [name]: target.value }, `${byId(name).querySelector("legend").textContent}: ${chosen}`);
      });
    }
    byId("faults").addEventListener("change", ({ target }) => {
      const share = Number(target.value);
      change({ faults: share ? { share } : null }, share ? "Random faults are on" : "Faults are off");
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
    this.showFaults(faults);
    byId("planned").hidden = planned === 0;
    setText(byId("planned"), `${plural(planned, "fault", "faults")} planned`);
  }

  showFaults(faults) {
    const choice = byId("faults");
    // An open list must not change under the viewer's hand.
    if (document.activeElement !== choice) {
      const share = faults ? String(faults.share) : "";
      const known = [...choice.options].some((option) => option.value === share);
      // A test may have planned a share that the list does not have.
      if (!known) choice.append(new Option(`${(faults.share * 100).toFixed(1)} % of requests`, share));
      choice.value = share;
    }
    byId("seed").hidden = !faults;
    if (faults) setText(byId("seed"), `Seed ${faults.seed}`);
    byId("settings").dataset.faults = Boolean(faults);
  }
}
