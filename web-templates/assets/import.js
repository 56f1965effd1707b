// Imports of files: checked first, sent with progress, and answered line by line.
"use strict";
const form = document.querySelector("[data-import]");
if (form) {
  const drop = form.querySelector("[data-drop]");
  const file = document.getElementById("file");
  const pasted = document.getElementById("pasted");
  const kind = document.getElementById("form");
  const progress = form.querySelector("[data-progress]");
  const bar = progress.querySelector("progress");
  const said = progress.querySelector("[role=status]");
  const report = document.querySelector("[data-report]");
  drop.hidden = false;

  const LARGE = 1 << 20;
  // Hints: what the file holds decides, and a choice in the form wins over both.
  const KINDS = { json: "application/json", csv: "text/csv", tsv: "text/csv", md: "text/markdown", html: "text/html", htm: "text/html", ioc: "application/xml" };
  const chosen = () => {
    const one = file.files[0];
    if (!one) return;
    pasted.disabled = true;
  };
  file.addEventListener("change", () => { pasted.disabled = false; chosen(); });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        file.files = event.dataTransfer.files;
        chosen();
      }
    });
  }

  const element = (name, text, ...children) => {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    made.append(...children);
    return made;
  };
  const number = (n) => n.toLocaleString("en");
  const show = (r) => {
    const figures = element("dl", null, ...[["New", r.accepted], ["Changed", r.updated], ["Seen again", r.unchanged], ["Refused", r.rejected_count]]
      .map(([word, n]) => element("div", null, element("dt", word), element("dd", number(n)))));
    figures.className = "figures";
    const card = element("section", null, element("h3", r.dry_run ? "This is what the import would do" : "The import is done"), figures);
    card.className = "card";
    card.id = "import-report";
    const files = r.read_as ?? [];
    if (files.length) card.append(element("p", `Read as ${files.map((f) => (f.file ? `${f.name} (${f.file})` : f.name)).join(", ")}.`));
    if (r.retired) card.append(element("p", `${number(r.retired)} of the new ones were last seen so long ago that they are retired: they go to no device.`));
    for (const sentence of r.ignored ?? []) card.append(element("p", sentence));
    if (r.id) {
      const link = element("a", "See this import, or undo it");
      link.href = `/tip/imports/${r.id}`;
      card.append(element("p", null, link));
    }
    const listed = (title, lines, count) => {
      if (!lines?.length) return;
      const more = count > lines.length ? `, the first ${number(lines.length)} of ${number(count)}` : "";
      const head = element("tr", null, ...["Line", "Value", "Why"].map((w) => element("th", w)));
      const rows = lines.map((l) => element("tr", null, element("td", number(l.line)), element("td", null, element("code", l.value)), element("td", l.reason)));
      const table = element("div", null, element("table", null, element("thead", null, head), element("tbody", null, ...rows)));
      table.className = "scroll";
      table.tabIndex = 0;
      table.setAttribute("role", "region");
      table.setAttribute("aria-label", title);
      card.append(element("p", `${title}${more}:`), table);
    };
    if (r.preview?.length) {
      const title = `The first ${number(r.preview.length)} that are new or change, as they would be`;
      const head = element("tr", null, ...["Value", "Kind", "It", "Severity", "Tags"].map((w) => element("th", w)));
      const rows = r.preview.map((p) => element("tr", null, element("td", null, element("code", p.value)), element("td", p.kind), element("td", p.new ? "is new" : "changes"), element("td", p.severity), element("td", p.tags.join(", "))));
      const table = element("div", null, element("table", null, element("thead", null, head), element("tbody", null, ...rows)));
      table.className = "scroll";
      table.tabIndex = 0;
      table.setAttribute("role", "region");
      table.setAttribute("aria-label", title);
      card.append(element("p", `${title}:`), table);
    }
    listed("Refused lines", r.rejected, r.rejected_count);
    listed("Fields left out of IOCs that were taken", r.remarks, r.remarks_count);
    report.replaceChildren(card);
    card.scrollIntoView({ block: "nearest" });
  };
  const trouble = (text) => {
    const p = element("p", text);
    p.className = "trouble";
    p.setAttribute("role", "alert");
    report.replaceChildren(p);
  };

  form.addEventListener("submit", (event) => {
    const body = file.files[0];
    // What was pasted goes the plain way.
    if (!body) return;
    event.preventDefault();
    if (body.size > Number(form.dataset.max)) {
      trouble(`The file is larger than ${number(Number(form.dataset.max))} bytes; split it.`);
      return;
    }
    const query = new URLSearchParams();
    const wish = event.submitter?.value;
    if (wish === "check") query.set("dry_run", "true");
    if (wish === "review") query.set("review", "true");
    // What takes longer is read in the background, and has a page that says how far it is.
    if (wish === "review" || (wish !== "check" && body.size > LARGE)) query.set("background", "true");
    query.set("file_name", body.name);
    if (form.elements.tag.value.trim()) query.set("tag", form.elements.tag.value.trim());
    if (form.elements.to_ids.checked) query.set("to_ids", "only");
    if (form.elements.live_links.checked) query.set("live_links", "true");
    if (form.elements.observables.checked) query.set("observables", "true");
    if (form.elements.restore.checked) query.set("restore", "true");
    query.set("form", kind.value);
    const ending = body.name.split(".").pop().toLowerCase();
    const request = new XMLHttpRequest();
    request.open("POST", `${form.dataset.import}?${query}`);
    request.setRequestHeader("Content-Type", KINDS[ending] ?? "application/octet-stream");
    const buttons = form.querySelectorAll("button");
    const busy = (on) => { buttons.forEach((b) => { b.disabled = on; }); progress.hidden = !on; };
    request.upload.addEventListener("progress", (sent) => {
      bar.value = sent.total ? (100 * sent.loaded) / sent.total : 0;
      said.textContent = sent.loaded < sent.total ? `${Math.floor(bar.value)} % sent` : "Sent; it is being read…";
    });
    request.addEventListener("load", () => {
      busy(false);
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* told below */ }
      if (request.status === 200) show(answer);
      else if (request.status === 202) location.assign(`/tip/imports/${answer.id}`);
      else if (request.status === 401) trouble("Your session has ended. Sign in in another tab, and send it again here.");
      else trouble(answer.detail ?? `iocast answered ${request.status}. Nothing was written.`);
    });
    request.addEventListener("error", () => { busy(false); trouble("The line broke before iocast answered. Look at the imports of this source, and send the file again if it is not among them."); });
    busy(true);
    request.send(body);
  });
}
