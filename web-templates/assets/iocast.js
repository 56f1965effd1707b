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

// How fresh the page is. What it asks for by itself goes through here: a failure is said, and each one
// makes the next try later.
const stale = document.getElementById("stale");
const loaded = Date.now();
const freshness = { at: loaded, failures: 0 };
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const refreshed = () => {
  freshness.at = Date.now();
  freshness.failures = 0;
  if (stale) stale.hidden = true;
};
const notRefreshed = (signedOut) => {
  freshness.failures += 1;
  if (!stale || (freshness.failures < 2 && !signedOut)) return;
  const since = `This page shows what was true at ${clock(freshness.at)}. `;
  const text = signedOut ? `${since}You are signed out: ` : `${since}The server does not answer; the page tries again by itself.`;
  if (stale.dataset.text === text && !stale.hidden) return;
  stale.dataset.text = text;
  stale.replaceChildren(text);
  if (signedOut) {
    const here = encodeURIComponent(location.pathname + location.search);
    stale.append(Object.assign(document.createElement("a"), { href: `/sign-in?next=${here}`, textContent: "sign in to go on" }), ". What you filled in stays while this page is open.");
  }
  stale.hidden = false;
};
// Asks for something in the background; gives nothing when it could not be had.
const ask = async (address, accept) => {
  try {
    const answer = await fetch(address, { headers: { Accept: accept, "X-Iocast-Background": "1" }, redirect: "manual", signal: AbortSignal.timeout(30000) });
    if (answer.ok) {
      refreshed();
      return answer;
    }
    notRefreshed(answer.type === "opaqueredirect" || answer.status === 401);
  } catch {
    notRefreshed(false);
  }
  return null;
};
// Calls again and again, and less often while it fails or nothing changes. A hidden page rests.
const again = (work, first, most) => {
  let wait = first;
  let isRunning = false;
  let timer = 0;
  const round = async () => {
    if (isRunning) return;
    isRunning = true;
    clearTimeout(timer);
    try {
      if (!document.hidden) wait = (await work()) ? first : Math.min(most, wait * 1.5);
    } catch {
      notRefreshed(false);
    } finally {
      isRunning = false;
      if (freshness.failures) wait = Math.min(60000, first * 2 ** Math.min(freshness.failures, 6));
      timer = setTimeout(round, wait);
    }
  };
  timer = setTimeout(round, first);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    wait = first;
    round();
  });
};
// What a person is choosing from is not taken away.
const isChoosing = (part) => (part?.querySelector("form[data-bulk]") && document.querySelector("td.choose input:checked")) || part?.querySelector("table[data-grid]")?.contains(document.activeElement);
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.requestConfig.headers["X-Iocast-Background"] && isChoosing(event.detail.target)) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  // The sign-in page is no part of this one.
  if (event.detail.xhr.responseURL.includes("/sign-in")) {
    event.detail.shouldSwap = false;
    notRefreshed(true);
  } else if (event.detail.xhr.status < 400) refreshed();
});
for (const failed of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(failed, (event) => notRefreshed(event.detail.xhr?.status === 401));
}

// Times: how long ago, in the time zone of the browser, or in UTC.
const times = document.querySelector("[data-times]");
let shownAs = "ago";
try { shownAs = localStorage.getItem("times") ?? "ago"; } catch { /* as they are */ }
const showTime = (time) => {
  const words = time.firstChild;
  if (!words || !time.dateTime) return;
  time.dataset.ago ??= words.textContent;
  time.dataset.utc ??= time.dataset.exact;
  const local = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  time.dataset.exact = `${local} here, ${time.dataset.utc}`;
  words.textContent = { ago: time.dataset.ago, local, utc: time.dataset.utc }[shownAs] ?? time.dataset.ago;
};
const showTimes = (within) => within.querySelectorAll("time.when").forEach(showTime);
if (times) {
  const select = times.querySelector("select");
  times.hidden = false;
  select.value = shownAs;
  select.addEventListener("change", () => {
    shownAs = select.value;
    try { localStorage.setItem("times", shownAs); } catch { /* only for this page */ }
    showTimes(document);
  });
}
showTimes(document);
document.addEventListener("htmx:load", (event) => showTimes(event.target));

// Devices on the page are followed: a dot that changes does so without a reload, and is said to those who can't see it.
const watched = () => document.querySelectorAll("[data-device], [data-wait]");
const followOne = (place, state) => {
  const before = place.dataset.lastPullAt;
  place.dataset.lastPullAt = state.last_pull_at;
  const scope = place.matches(".title") ? document.getElementById("main") : place;
  for (const last of scope.querySelectorAll("[data-last-pull]")) {
    if (!state.last_pull_at) continue;
    let time = last.querySelector("time");
    if (!time) {
      time = Object.assign(document.createElement("time"), { className: "when" });
      time.append("", Object.assign(document.createElement("span"), { className: "aside" }));
      last.replaceChildren(time);
    }
    time.dateTime = state.last_pull_at;
    time.dataset.ago = state.last_pull;
    time.dataset.utc = state.last_pull_exact;
    time.lastChild.textContent = `, ${state.last_pull_exact}`;
    showTime(time);
  }
  let moved = before !== undefined && before !== String(state.last_pull_at);
  if (place.dataset.state !== state.state) {
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
  return moved;
};
if (watched().length) {
  again(async () => {
    const ids = [...new Set([...watched()].map((place) => place.dataset.device ?? place.dataset.wait))].join(",");
    const answer = await ask(`/automation/integrations/states?ids=${ids}`, "application/json");
    if (!answer) return false;
    const states = new Map((await answer.json()).map((s) => [s.id, s]));
    let moved = false;
    for (const place of watched()) {
      const state = states.get(place.dataset.device ?? place.dataset.wait);
      if (state) moved = followOne(place, state) || moved;
    }
    // What a device has is shown beside its dot.
    if (moved) document.body.dispatchEvent(new CustomEvent("pulled"));
    return moved;
  }, 2000, 10000);
}

// Parts of a page that show what changes by itself are asked for again with the page they stand on.
const parts = () => [...document.querySelectorAll("[data-live]")];
const isUsed = (part) => part.contains(document.activeElement) || part.querySelector("details[open], dialog[open], td.choose input:checked");
if (parts().length) {
  for (const part of parts()) part.dataset.html = part.innerHTML;
  again(async () => {
    const answer = await ask(location.href, "text/html");
    if (!answer) return false;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    let changed = false;
    for (const part of parts()) {
      const next = fresh.getElementById(part.id);
      if (!next || isUsed(part) || next.innerHTML === part.dataset.html) continue;
      changed = true;
      part.dataset.html = next.innerHTML;
      part.replaceChildren(...next.childNodes);
      showTimes(part);
      grids(part);
      part.querySelectorAll("form[data-bulk]").forEach(bulk);
      htmx.process(part);
    }
    return changed;
  }, 5000, 30000);
}

// Search from every page: / or Ctrl-K, then the arrows and Enter.
const palette = document.querySelector("[data-palette]");
if (palette) {
  const hits = Object.assign(document.createElement("div"), { id: "hits", className: "hits", hidden: true });
  hits.setAttribute("role", "listbox");
  hits.setAttribute("aria-label", "Search results");
  palette.form.append(hits);
  for (const [name, value] of [["role", "combobox"], ["aria-expanded", "false"], ["aria-controls", "hits"], ["aria-autocomplete", "list"]]) palette.setAttribute(name, value);
  let asked = 0;
  let timer = 0;
  const options = () => [...hits.querySelectorAll("[role=option]")];
  const current = () => hits.querySelector("[aria-selected=true]");
  const show = (open) => {
    hits.hidden = !open;
    palette.setAttribute("aria-expanded", String(open));
    if (!open) palette.removeAttribute("aria-activedescendant");
  };
  const choose = (option) => {
    current()?.setAttribute("aria-selected", "false");
    if (!option) return;
    option.setAttribute("aria-selected", "true");
    palette.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  };
  const look = async () => {
    const text = palette.value.trim();
    const mine = asked += 1;
    if (!text) {
      show(false);
      return;
    }
    const answer = await ask(`/search/hits?q=${encodeURIComponent(text)}`, "text/html");
    if (!answer || mine !== asked) return;
    const fragment = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    hits.replaceChildren(...fragment.childNodes);
    palette.removeAttribute("aria-activedescendant");
    options().forEach((option, nth) => { option.id = `hit-${nth}`; });
    show(true);
    announce(`${options().length - 1} results`);
  };
  palette.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, 150);
  });
  palette.addEventListener("keydown", (event) => {
    const all = options();
    const at = all.indexOf(current());
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (hits.hidden || !all.length) look();
      else choose(all[(at + (event.key === "ArrowDown" ? 1 : all.length - (at < 0 ? 0 : 1))) % all.length]);
    } else if (event.key === "Enter" && current() && !hits.hidden) {
      event.preventDefault();
      location.assign(current().href);
    } else if (event.key === "Escape") {
      show(false);
      palette.blur();
    }
  });
  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest("input, textarea, select, [contenteditable]");
    if ((event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !writes && !event.ctrlKey && !event.metaKey && !event.altKey)) {
      event.preventDefault();
      document.body.classList.add("menu-open");
      document.querySelector("[data-menu]")?.setAttribute("aria-expanded", "true");
      palette.focus();
      palette.select();
    }
  });
  palette.form.addEventListener("focusout", (event) => {
    if (!palette.form.contains(event.relatedTarget)) show(false);
  });
}

// A long list of choices is narrowed down by name.
for (const field of document.querySelectorAll("[data-filter]")) {
  field.hidden = false;
  field.addEventListener("input", () => {
    const text = field.value.trim().toLowerCase();
    for (const part of document.querySelectorAll(`${field.dataset.filter} [data-named]`)) part.hidden = !part.dataset.named.includes(text) && !part.querySelector(":checked");
  });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
}

// Several rows at once: all of the page, and how many are ticked.
const bulk = (form) => {
  const boxes = () => [...document.querySelectorAll(`input[type=checkbox][form="${form.id}"]`)];
  const all = form.querySelector("[data-all]");
  all.hidden = false;
  form.querySelector("[data-all-word]").hidden = false;
  const count = () => {
    const n = boxes().filter((box) => box.checked).length;
    form.querySelector("[data-chosen]").textContent = n ? `: ${n} chosen` : "";
    if (n) form.querySelector("details").open = true;
    all.checked = n > 0 && n === boxes().length;
    all.indeterminate = n > 0 && n < boxes().length;
  };
  all.addEventListener("change", () => {
    boxes().forEach((box) => { box.checked = all.checked; });
    count();
  });
  boxes().forEach((box) => box.addEventListener("change", count));
};
document.querySelectorAll("form[data-bulk]").forEach(bulk);
document.addEventListener("htmx:load", (event) => event.target.querySelectorAll?.("form[data-bulk]").forEach(bulk));

// A long table is one stop of the Tab key; the arrow keys move within it, as in a spreadsheet.
const controls = (row) => [...row.querySelectorAll("a[href], button, input, summary")];
const grid = (table) => {
  table.setAttribute("role", "grid");
  table.setAttribute("aria-description", "One stop of the Tab key. The arrow keys move between its cells, Home and End within a row.");
  const rows = () => [...table.tBodies[0].rows];
  const stop = (control) => {
    table.querySelectorAll("tbody [tabindex='0']").forEach((other) => { other.tabIndex = -1; });
    control.tabIndex = 0;
  };
  rows().forEach((row) => controls(row).forEach((control) => { control.tabIndex = -1; }));
  const first = rows().flatMap(controls)[0];
  if (first) stop(first);
  table.addEventListener("focusin", (event) => {
    const control = event.target.closest("a[href], button, input, summary");
    if (control?.closest("tbody")) stop(control);
  });
  table.addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input:not([type=checkbox])")) return;
    const [all, at] = [controls(row), controls(row).indexOf(event.target)];
    const [lines, line] = [rows(), rows().indexOf(row)];
    const below = (by) => {
      const wanted = lines[Math.min(Math.max(line + by, 0), lines.length - 1)];
      // The control of the same cell, or the last one before it.
      const cell = event.target.closest("td, th");
      const same = wanted.cells[cell.cellIndex];
      return (same && controls(same)[0]) ?? controls(wanted)[Math.min(at, controls(wanted).length - 1)];
    };
    const moves = { ArrowDown: () => below(1), ArrowUp: () => below(-1), PageDown: () => below(10), PageUp: () => below(-10), ArrowRight: () => all[at + 1], ArrowLeft: () => all[at - 1], Home: () => all[0], End: () => all.at(-1) };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]()?.focus();
  });
};
const grids = (within) => within.querySelectorAll("table[data-grid]").forEach(grid);
grids(document);
document.addEventListener("htmx:load", (event) => { if (event.target.querySelectorAll) grids(event.target); });

// A file that is chosen is read into a field.
for (const chosen of document.querySelectorAll("input[type=file][data-into]")) {
  chosen.addEventListener("change", async () => {
    const file = chosen.files[0];
    if (!file) return;
    document.getElementById(chosen.dataset.into).value = await file.text();
    announce(`${file.name} is in the field below`);
  });
}

// On a narrow screen the places are behind a button.
const menu = document.querySelector("[data-menu]");
if (menu) {
  menu.hidden = false;
  menu.addEventListener("click", () => {
    const open = menu.getAttribute("aria-expanded") !== "true";
    menu.setAttribute("aria-expanded", String(open));
    document.body.classList.toggle("menu-open", open);
  });
}

// After a form was refused, the first field that is wrong has the focus.
document.querySelector("main [aria-invalid='true']")?.focus();

// Light, dark, or as the system says.
const theme = document.querySelector("[data-theme-switch]");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
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
