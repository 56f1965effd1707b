// What has to be known before a page is drawn: the colours that were chosen, and that there is script.
"use strict";
document.documentElement.classList.add("script");
try {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* no storage: as the system says */ }
