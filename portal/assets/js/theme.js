// The colour scheme: the system's, until the viewer chooses another one. This is a script of its
// own, loaded before anything is drawn, so that a dark page does not flash white.
"use strict";

(() => {
  const CHOICES = ["system", "light", "dark"];
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem("theme") ?? "system";
    } catch {
      // Storage may be forbidden; then the choice lasts as long as the page.
      return root.dataset.theme ?? "system";
    }
  }

  function apply(choice) {
    root.dataset.theme = CHOICES.includes(choice) ? choice : "system";
    for (const radio of document.querySelectorAll("input[name=theme]")) {
      radio.checked = radio.value === root.dataset.theme;
    }
  }

  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    apply(stored());
    document.getElementById("theme").addEventListener("change", (event) => {
      apply(event.target.value);
      try {
        localStorage.setItem("theme", event.target.value);
      } catch {
        // See above.
      }
    });
  });
})();
