// The token stands behind the # of the address: it is sent in the body only, and never as part of a URL.
"use strict";
const token = location.hash.slice(1);
// From here on neither the address bar nor the history has it.
history.replaceState(null, "", location.pathname);
const form = document.getElementById("password-form");
const result = document.getElementById("password-result");
form.querySelector("button").disabled = false;
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token, password: document.getElementById("password").value };
  try {
    const answer = await fetch("/api/v1/passwords", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (answer.ok) {
      form.hidden = true;
      result.textContent = "The password is set. You can sign in with it now.";
    } else {
      result.textContent = (await answer.json()).detail;
    }
  } catch {
    result.textContent = "iocast did not answer. Try again in a moment.";
  }
});
