// What pages do beyond plain forms and links. Everything here is a convenience: without it the pages still work.
"use strict";
// A page that answers a form (a new key, say) is not asked for by that form again when it is loaded again.
history.replaceState(history.state, "", location.href);


const announce = (text) => { document.getElementById("announcer").textContent = text; };

// Copy buttons, shown where there is a clipboard or at least a selection.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http has no clipboard: select the text and copy the old way.
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector("code"));
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    document.execCommand("copy");
  }
  const words = button.firstChild;
  const before = words.textContent;
  words.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { words.textContent = before; }, 1500);
});

// How many of the allowed characters are used.
for (const count of document.querySelectorAll("[data-count]")) {
  const field = document.getElementById(count.dataset.count);
  const show = () => {
    const used = [...field.value.trim()].length;
    count.textContent = `${used} of ${field.dataset.max}`;
    count.classList.toggle("wrong", used > Number(field.dataset.max));
  };
  field.addEventListener("input", show);
  show();
}

// Choosing a device type shows its limit, and what it takes.
const types = document.querySelector("[data-types]");
if (types) {
  const limit = document.getElementById("ioc_limit");
  const show = () => {
    const chosen = types.selectedOptions[0];
    document.getElementById("about-type").textContent = chosen?.dataset.about ?? "";
    limit.placeholder = chosen?.dataset.limit ?? "";
  };
  types.addEventListener("change", show);
  show();
}

// Source priority: dragged, or moved by buttons; the numbers follow.
for (const list of document.querySelectorAll("[data-priority]")) {
  const renumber = () => list.querySelectorAll(".rank").forEach((rank, place) => { rank.value = place + 1; });
  let dragged = null;
  list.querySelectorAll("[data-move]").forEach((button) => { button.hidden = false; });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-move]");
    if (!button) return;
    const item = button.closest("li");
    const other = button.dataset.move === "-1" ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    if (button.dataset.move === "-1") other.before(item); else other.after(item);
    renumber();
    button.focus();
    announce(`${item.querySelector(".name").textContent}: place ${[...list.children].indexOf(item) + 1}`);
  });
  list.addEventListener("dragstart", (event) => { dragged = event.target.closest("li"); event.dataTransfer.effectAllowed = "move"; });
  list.addEventListener("dragover", (event) => {
    const over = event.target.closest("li");
    if (!dragged || !over || over === dragged) return;
    event.preventDefault();
    const below = event.clientY > over.getBoundingClientRect().top + over.offsetHeight / 2;
    if (below) over.after(dragged); else over.before(dragged);
  });
  list.addEventListener("drop", (event) => { event.preventDefault(); renumber(); });
  list.addEventListener("dragend", () => { dragged = null; renumber(); });
}

// The rule wizard, a step at a time. Without script all steps stand below each other.
for (const wizard of document.querySelectorAll("[data-wizard]")) {
  const steps = [...wizard.querySelectorAll(".step")];
  const finish = wizard.lastElementChild;
  let at = Math.max(0, steps.findIndex((s) => s.querySelector(".wrong")));
  const bar = document.createElement("p");
  bar.className = "actions wizard-bar";
  const back = Object.assign(document.createElement("button"), { type: "button", textContent: "Back" });
  const next = Object.assign(document.createElement("button"), { type: "button", textContent: "Next", className: "main" });
  bar.append(back, next);
  finish.before(bar);
  const show = (moved) => {
    steps.forEach((step, n) => { step.hidden = n !== at; });
    back.hidden = at === 0;
    next.hidden = at === steps.length - 1;
    finish.hidden = at !== steps.length - 1;
    if (moved) {
      const legend = steps[at].querySelector("legend");
      legend.tabIndex = -1;
      legend.focus();
    }
  };
  back.addEventListener("click", () => { at -= 1; show(true); });
  next.addEventListener("click", () => { at += 1; show(true); });
  wizard.addEventListener("keydown", (event) => {
    // Enter in a field goes on instead of sending a form that is half filled in.
    if (event.key === "Enter" && event.target.matches("input:not([type=checkbox])") && at < steps.length - 1) {
      event.preventDefault();
      next.click();
    }
  });
  show(false);
}

// Devices on the page are followed: a dot that changes does so without a reload, and is said to those who can't see it.
const watched = () => document.querySelectorAll("[data-device], [data-wait]");
if (watched().length) {
  const follow = async () => {
    if (document.hidden) return;
    const ids = [...new Set([...watched()].map((place) => place.dataset.device ?? place.dataset.wait))].join(",");
    const answer = await fetch(`/automation/integrations/states?ids=${ids}`, { headers: { Accept: "application/json" }, redirect: "manual" });
    if (!answer.ok) return;
    const states = new Map((await answer.json()).map((s) => [s.id, s]));
    let moved = false;
    for (const place of watched()) {
      const state = states.get(place.dataset.device ?? place.dataset.wait);
      if (!state) continue;
      moved ||= place.dataset.lastPullAt !== undefined && place.dataset.lastPullAt !== String(state.last_pull_at);
      place.dataset.lastPullAt = state.last_pull_at;
      const scope = place.matches(".title") ? document.getElementById("main") : place;
      for (const last of scope.querySelectorAll("[data-last-pull]")) {
        const shown = last.querySelector("time");
        if (shown ? !shown.matches(":focus, :hover") && !shown.textContent.startsWith(state.last_pull) : last.textContent.trim() !== state.last_pull) {
          last.textContent = state.last_pull;
        }
      }
      if (place.dataset.state === state.state) continue;
      moved = true;
      place.dataset.state = state.state;
      const said = place.querySelector("[data-condition]");
      const dot = document.createElement("span");
      dot.className = `dot ${state.state}`;
      dot.setAttribute("aria-hidden", "true");
      const word = document.createElement("span");
      word.className = "dot-word";
      word.textContent = state.word;
      said.replaceChildren(dot, " ", word);
      const heading = place.querySelector("#wait-heading");
      if (heading && state.state === "synced") heading.textContent = "It pulls";
      for (const hint of place.querySelectorAll("[data-while-waiting]")) hint.hidden = state.state === "synced";
      announce(`${state.name}: ${state.word}`);
    }
    // What a device has is shown beside its dot.
    if (moved) document.body.dispatchEvent(new CustomEvent("pulled"));
  };
  const round = () => follow().catch(() => {}).finally(() => setTimeout(round, 2000));
  setTimeout(round, 2000);
}

// Light, dark, or as the system says.
const theme = document.querySelector("[data-theme-switch]");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* no storage: as the system says */ }
if (theme) {
  const name = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* only for this page */ }
    name();
  });
  dark.addEventListener("change", name);
  name();
}
