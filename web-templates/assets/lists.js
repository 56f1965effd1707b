// Adding warninglists: each file is sent as it is, and the list below follows.
"use strict";
const form = document.querySelector("[data-lists]");
if (form) {
  const said = form.querySelector("[data-said]");
  const WORDS = { added: "added", updated: "updated", unchanged: "the same as before" };
  const send = async (file) => {
    const mode = form.elements.mode.value;
    const answer = await fetch(`/api/v1/warninglists?mode=${mode}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) return [`${file.name}: ${body.errors?.[0]?.message ?? body.detail ?? `iocast answered ${answer.status}.`}`];
    const count = {};
    for (const list of body.lists) count[list.outcome] = (count[list.outcome] ?? 0) + 1;
    const sums = Object.entries(WORDS).filter(([code]) => count[code]).map(([code, word]) => `${count[code]} ${word}`);
    const refused = body.lists.filter((list) => list.outcome === "refused").map((list) => `${list.name}: ${list.reason}`);
    return [...(sums.length ? [`${file.name}: ${sums.join(", ")}.`] : []), ...refused];
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const files = [...form.querySelector("input[type=file]").files];
    if (!files.length) { said.textContent = "Choose a file first."; return; }
    const button = form.querySelector("button");
    button.disabled = true;
    const sentences = [];
    for (const file of files) {
      said.textContent = `${file.name} is being read…`;
      if (file.size > Number(form.dataset.max)) sentences.push(`${file.name} is larger than ${form.dataset.max} bytes; give it in parts.`);
      else sentences.push(...await send(file).catch(() => [`${file.name}: the line broke. Send it again.`]));
    }
    button.disabled = false;
    const list = document.createElement("ul");
    list.append(...sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    said.replaceChildren(list);
    await htmx.ajax("GET", "/settings/warninglists", { target: "#lists", select: "#lists", swap: "outerHTML" });
  });
}
