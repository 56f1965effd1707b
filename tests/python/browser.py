"""Stories in a real browser (Debian's Chromium), each against a site of its own.

usage: browser.py STORY < scene.json

The scene says where the site is and who signs in. A story that goes wrong ends with a traceback and leaves a picture of
the page in the folder that the scene names.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import sys
import urllib.parse
from collections.abc import Callable

import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from payloads import PAYLOADS

expect.set_options(timeout=15_000)


class Site:
    """Who sits before the browser, and what went wrong in it."""

    def __init__(self, browser: Browser, scene: dict) -> None:
        self.browser = browser
        self.scene = scene
        self.url: str = scene["url"]
        self.complaints: list[str] = []
        self.context = self.fresh_context()
        self.page = self.context.new_page()

    def fresh_context(self, **options: object) -> BrowserContext:
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "base_url": self.url} | options)
        context.set_default_timeout(15_000)
        context.on("console", lambda m: m.type == "error" and "Failed to load resource" not in m.text and self.complaints.append(m.text))
        context.on("weberror", lambda e: self.complaints.append(str(e.error)))
        context.on("dialog", lambda d: (self.complaints.append(f"dialog {d.message}"), d.dismiss()))
        context.on("request", lambda r: r.url.startswith((self.url, "data:", "about:")) or self.complaints.append(f"foreign {r.url}"))
        return context

    def sign_in(self, page: Page | None = None, email: str | None = None, password: str | None = None) -> None:
        page = page or self.page
        page.goto("/sign-in")
        page.fill("#email", email or self.scene["email"])
        page.fill("#password", password or self.scene["password"])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    def api(self, method: str, path: str, **options: object) -> requests.Response:
        if not hasattr(self, "token"):
            answer = requests.post(f"{self.url}/api/v1/sessions", json={"email": self.scene["email"], "password": self.scene["password"]}, timeout=60)
            self.token = answer.json()["token"]
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        answer = requests.request(method, f"{self.url}/api/v1{path}", headers=headers, timeout=120, **options)
        assert answer.ok, (method, path, answer.text)
        return answer

    def alert(self, title: str, iocs: list[str]) -> str:
        """An alert that comes in through the Threat Command API. Gives its id."""
        if not hasattr(self, "program"):
            self.program = (self.scene["account_id"], self.api("POST", "/keys", json={"kind": "api"}).json()["secret"])
        details = {"Title": title, "Type": "Phishing", "Severity": "High", "Source": {"Type": "Paste Site", "NetworkType": "ClearWeb"}}
        answer = requests.put(f"{self.url}/public/v1/data/alerts/add-alert", json={"Details": details, "RelatedIocs": iocs}, auth=self.program, timeout=60)
        assert answer.ok, answer.text
        return answer.text

    def add_device(self, name: str, page: Page | None = None) -> None:
        page = page or self.page
        page.goto("/automation/integrations")
        page.get_by_role("link", name="Add new device").first.click()
        page.fill("#name", name)
        page.select_option("#device_type", "misp")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("heading", name=f"Connect {name}")).to_be_visible()

    def form_values(self, page: Page | None = None) -> dict[str, str]:
        """The set-up form as it stands on the page: label and value."""
        rows = (page or self.page).locator(".form-values tbody tr")
        values = {}
        for row in rows.all():
            code = row.locator("code")
            values[row.locator("th").inner_text()] = code.inner_text() if code.count() else row.locator("td").inner_text()
        return values

    def pull(self, values: dict[str, str]) -> requests.Response:
        """What MISP does with the values in its Add Feed form."""
        auth = (values["Add Basic Auth: username"], values["Add Basic Auth: password"])
        answer = requests.get(values["URL"] + "/manifest.json", auth=auth, headers={"User-Agent": "MISP 2.5.20", "MISP-version": "2.5.20"}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def wrong(self) -> list[str]:
        return [w.inner_text() for w in self.page.locator(".wrong:not([data-count])").all() if w.inner_text()]

    def advance(self, span: str) -> None:
        self.page.fill("#advance", span)
        self.page.get_by_role("button", name="Advance").click()
        expect(self.page.locator("p.said")).to_contain_text("The clock is at")


def the_whole_work_of_an_admin(site: Site) -> None:
    page = site.page
    page.goto("/")
    expect(page).to_have_url(re.compile(r"/sign-in\?next=%2F$"))
    expect(page.get_by_text("First time here?")).to_be_visible()
    page.fill("#email", site.scene["email"])
    page.fill("#password", "not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("e-mail address or the password is wrong")
    assert page.input_value("#email") == site.scene["email"], "what was typed stays"
    site.sign_in()
    page.get_by_role("link", name="Integrations", exact=True).click()
    expect(page.get_by_role("heading", name="No device yet")).to_be_visible()
    site.add_device("Lab MISP")
    # The page of all devices, left open in another tab.
    watching = site.context.new_page()
    watching.goto("/automation/integrations")
    expect(watching.locator("[data-condition]")).to_have_text(re.compile("Not connected yet"))
    page.fill("#name", "Perimeter")
    page.get_by_role("button", name="Make the group").click()
    values = site.form_values()
    labels = ["Enabled", "Caching enabled", "Name", "Provider", "Input Source", "URL", "Source Format", "Add Basic Auth: username", "Add Basic Auth: password"]
    assert list(values)[: len(labels)] == labels, values
    assert values["Add Basic Auth: username"] == site.scene["account_id"]
    expect(page.get_by_role("heading", name="Waiting for the first pull")).to_be_visible()
    command = page.locator("section", has=page.get_by_role("heading", name="Prove it")).locator("code").first.inner_text()
    assert values["URL"] in command and values["Add Basic Auth: password"] in command, command

    other = site.context.new_page()
    other.goto("/tip/sources")
    other.fill("#name", "Own feed")
    other.get_by_role("button", name="Add source").click()
    other.set_input_files("#file", site.scene["file"])
    other.get_by_role("button", name="Check, write nothing").click()
    expect(other.locator("#import-report")).to_contain_text("This is what the import would do")
    other.get_by_role("button", name="Import", exact=True).click()
    expect(other.locator("#import-report")).to_contain_text("The import is done")
    new = int(other.locator("#import-report dd").first.inner_text().replace(",", ""))
    assert new > 0

    # The publication is made within moments; MISP pulls when it pulls.
    def there() -> bool:
        return len(site.pull(values).json()) > 0

    page.wait_for_timeout(200)
    until(there, "the feed lists an event")
    # Green, on both open pages, without a reload; and it is said to those who can't see it.
    expect(watching.locator("[data-condition] .dot.synced")).to_be_visible()
    expect(watching.locator("#announcer")).to_have_text("Lab MISP: Synced")
    expect(page.get_by_role("heading", name="It pulls")).to_be_visible()
    watching.reload()
    expect(watching.locator("td .fill span")).to_have_text(f"{new:,} of 50,000")

    page.goto("/automation/integrations")
    site.advance("49h")
    expect(page.locator("p.said")).to_contain_text("1 outage opened, 1 message queued, 1 message sent")
    expect(page.locator("[data-condition] .dot.silent")).to_be_visible()
    expect(page.locator("[data-condition]")).to_contain_text(re.compile("Silent since 2 days ago"))
    expect(watching.locator("[data-condition] .dot-word")).to_have_text("Silent")
    page.get_by_role("link", name="Lab MISP", exact=True).click()
    expect(page.get_by_text("Does something fetch it at all?")).to_be_visible()
    expect(page.locator("section", has=page.get_by_role("heading", name="Outages and messages"))).to_contain_text("still silent")
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_role("link", name="Mail", exact=True).click()
    expect(page.locator("table tbody tr").first).to_contain_text("[iocast] Lab MISP is silent (iocast)")
    expect(page.locator("table tbody tr").first).to_contain_text("written to a file")
    expect(page.locator("p.notice").first).to_contain_text("Nobody gets mail")
    site.pull(values)
    expect(watching.locator("[data-condition] .dot.synced")).to_be_visible()
    site.advance("0s")
    page.goto("/settings/mail")
    expect(page.locator("table tbody tr", has_text="[iocast] Lab MISP pulls again (iocast)")).to_have_count(1)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/automation/integrations")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def until(what, story: str) -> None:
    """Asks again until it is so; the limit only ends a story that can't succeed."""
    import time

    for _ in range(600):
        if what():
            return
        time.sleep(0.1)
    raise AssertionError(f"never happened: {story}")


def every_set_up_form_opens_its_feed(site: Site) -> None:
    page = site.page
    site.sign_in()
    seen: set[str] = set()
    misp = ""
    for tab in ["cloud", "on_premises"]:
        page.goto(f"/automation/integrations/new?tab={tab}")
        types = [o.get_attribute("value") for o in page.locator("#device_type option").all() if "push" not in o.inner_text() and o.get_attribute("value")]
        for of_type in types:
            page.goto(f"/automation/integrations/new?tab={tab}")
            page.fill("#name", f"Device {len(seen)}")
            page.select_option("#device_type", of_type)
            expect(page.locator("#about-type")).to_contain_text("Takes")
            page.get_by_role("button", name="Add", exact=True).click()
            page.get_by_role("button", name="Make the group").click()
            expect(page.locator(".form-values")).to_be_visible()
            opened = open_each(site, of_type)
            misp = page.url if of_type == "misp" else misp
            assert opened, f"{of_type}: no value of its form opens anything"
            seen.add(of_type)
    assert {"misp", "panorama", "taxii", "azure-sentinel", "sophos", "panorama-on-premises"} <= seen
    def all_green() -> bool:
        return all(d["state"] == "synced" for d in page.request.get("/automation/integrations/states").json())

    until(all_green, "every device that pulled by its form is green")
    # Later the secret is not shown again, but a new key can be made in place.
    page.goto(misp)
    assert "…" in site.form_values()["Add Basic Auth: password"]
    page.get_by_role("button", name="Make a new key and show it here").click()
    assert site.pull(site.form_values()).ok
    # The copy buttons give what they stand beside.
    page.locator(".form-values .copy button").first.click()
    expect(page.locator("#announcer")).to_have_text("Copied")


def open_each(site: Site, of_type: str) -> int:
    """Opens every URL in a set-up form as the device would, with the credentials that stand beside it. Gives how many there were."""
    command = site.page.locator("section", has=site.page.get_by_role("heading", name="Prove it")).locator("code").first.inner_text()
    account, key = re.search(r"-u (\S+):(\S+)", command).groups()
    rows = [(r.locator("th").inner_text(), r.locator("td").inner_text()) for r in site.page.locator(".form-values tbody tr").all()]
    values = [re.sub(r"\s*Copy.*$", "", value, flags=re.S) for _, value in rows]
    assert not any("{" in v and "}" in v and re.search(r"\{[a-z_]+\}", v) for v in values), f"{of_type}: a place was not filled: {values}"
    assert any(key in v for v in values), f"{of_type}: the form does not show the key"
    opened = 0
    for value in values:
        for url in re.findall(r"(?:https?|stix)://[^\s\"\\\\']+", value):
            # A FortiGate reads stix:// as https://, which the test has none of.
            url = url.replace("stix://", "http://").rstrip(";,")
            own = "key=" in url or "@" in url.split("/")[2]
            headers = {"Accept": "*/*"}
            if ("Key", "X-API-Key") in [(label, v) for (label, _), v in zip(rows, values)]:
                headers["X-API-Key"] = key
                own = True
            answer = requests.get(url, auth=None if own else (account, key), headers=headers, timeout=60)
            assert answer.status_code == 200, f"{of_type}: {url} answered {answer.status_code}: {answer.text[:200]}"
            opened += 1
    labelled = {label: value for (label, _), value in zip(rows, values)}
    if "Collection ID" in labelled:
        objects = f"{labelled['API root URL']}collections/{labelled['Collection ID']}/objects/"
        answer = requests.get(objects, auth=(account, key), timeout=60)
        assert answer.status_code in (200, 206), f"{of_type}: {objects} answered {answer.status_code}"
    if of_type == "misp":
        site.pull(site.form_values())
    return opened


def every_error_of_the_add_dialog(site: Site) -> None:
    page = site.page
    site.sign_in()

    def send(name: str, of_type: str, limit: str) -> list[str]:
        page.goto("/automation/integrations/new")
        page.fill("#name", name)
        if of_type:
            page.select_option("#device_type", of_type)
        page.fill("#ioc_limit", limit)
        page.get_by_role("button", name="Add", exact=True).click()
        return site.wrong()

    page.goto("/automation/integrations/new")
    page.fill("#name", "x" * 51)
    expect(page.locator("[data-count]")).to_have_text("51 of 50")
    page.select_option("#device_type", "misp")
    assert page.get_attribute("#ioc_limit", "placeholder") == "50000"
    for name, of_type, limit, said in [
        ("", "misp", "", "name"),
        ("x" * 51, "misp", "", "50"),
        ("Café", "misp", "", "take out"),
        ("A<b>", "misp", "", "take out"),
        ("Good", "", "", "no such device type"),
        ("Good", "office-365", "", "does not push"),
        ("Good", "misp", "0", "1 to 50000"),
        ("Good", "misp", "50001", "1 to 50000"),
        ("Good", "misp", "many", "whole number"),
    ]:
        wrong = send(name, of_type, limit)
        assert len(wrong) == 1 and said in wrong[0], (name[:10], of_type, limit, wrong)
        assert page.input_value("#name") == name and page.input_value("#ioc_limit") == limit, "what was typed stays"
    # The server says the same to programs.
    answer = requests.post(
        f"{site.url}/api/v1/devices", json={"name": "Café", "device_type": "misp"}, headers={"Authorization": f"Bearer {token(site)}"}, timeout=60
    )
    assert send("Café", "misp", "") == [answer.json()["errors"][0]["message"]]
    assert send("Good", "misp", "50,000") == []
    wrong = send("good", "misp", "")
    assert len(wrong) == 1 and "already a device" in wrong[0], wrong
    # Nothing but the good one was made.
    assert [d["name"] for d in site.api("GET", "/devices").json()["items"]] == ["Good"]


def what_a_device_holds(site: Site) -> None:
    page = site.page
    site.sign_in()
    source = site.api("POST", "/sources", json={"name": "Own feed", "confidence": 2}).json()["id"]
    site.api("POST", f"/sources/{source}/iocs", data="wrong.example\nright.example\nlast.example\n", headers={"Content-Type": "text/plain"})
    made = {}
    for name, of_type, limit in [("Edge", "plain-list", 2), ("Branch", "plain-list", 10)]:
        device = site.api("POST", "/devices", json={"name": name, "device_type": of_type}).json()["id"]
        group = site.api("POST", f"/devices/{device}/groups", json={"name": f"{name} list", "limit": limit}).json()
        key = site.api("POST", f"/devices/{device}/keys", json={}).json()["secret"]
        made[name] = (device, group, key)

    def pull(name: str) -> None:
        _, group, key = made[name]
        answer = requests.get(group["url"], auth=(site.scene["account_id"], key), headers={"User-Agent": "firewall"}, timeout=60)
        assert answer.status_code == 200, answer.text

    # Beside the dot, each device says whether it has what its groups hold.
    page.goto("/automation/integrations")
    edge = page.get_by_role("row", name=re.compile("^Choose Edge"))
    expect(edge).to_contain_text("never fetched")
    pull("Edge")
    expect(edge).not_to_contain_text("never fetched")
    expect(edge).to_contain_text("at its limit: 1 left out")
    page.goto(f"/automation/integrations/{made['Branch'][0]}")
    expect(page.locator("#now")).to_contain_text("Nothing was fetched yet.")
    pull("Branch")
    expect(page.locator("#now")).to_contain_text("The device has fetched everything that the group holds.")
    expect(page.locator("#clients")).to_contain_text("firewall")
    page.goto(f"/automation/integrations/{made['Edge'][0]}")
    expect(page.get_by_text("The group is full: 1 IOC found no room.").first).to_be_visible()
    expect(page.locator("section", has=page.get_by_role("heading", name="Clients", exact=True))).to_contain_text("firewall")
    # A withdrawal is followed device by device, on a page that is left open.
    page.goto("/tip/iocs?q=wrong.example")
    page.get_by_role("link", name="wrong.example").first.click()
    places = page.locator("section", has=page.get_by_role("heading", name=re.compile("Where it"))).first
    expect(places).to_contain_text("Branch list")
    expect(places).to_contain_text("Why it is not in others")
    expect(places).to_contain_text("Edge list")
    page.goto("/tip/iocs?q=last.example")
    page.get_by_role("link", name="last.example").first.click()
    page.select_option("#whitelist", "never_sent")
    page.get_by_role("button", name="Save", exact=True).click()
    withdrawal = page.locator("#withdrawn")
    expect(withdrawal).to_contain_text("2 have not fetched it yet")
    pull("Edge")
    expect(withdrawal).to_contain_text("1 fetched it")
    pull("Branch")
    expect(withdrawal).to_contain_text("2 fetched it")
    page.goto(f"/automation/groups/{made['Branch'][1]['id']}")
    expect(page.locator("[data-protection]")).to_have_attribute("data-protection", "complete")


def token(site: Site) -> str:
    site.api("GET", "/me")
    return site.token


def with_the_keyboard_only(site: Site) -> None:
    page = site.page
    page.goto("/sign-in")
    keyboard = page.keyboard

    def tab_to(condition: str, most: int = 60) -> None:
        """Tabs on until the focus is on what fits, and checks that the focus can be seen wherever it stops."""
        for _ in range(most):
            keyboard.press("Tab")
            focused = page.evaluate_handle("document.activeElement")
            if page.evaluate("e => e !== document.body && e.matches(':focus-visible') && getComputedStyle(e).outlineStyle === 'none'", focused):
                raise AssertionError("the focus can't be seen on " + page.evaluate("e => e.outerHTML.slice(0, 100)", focused))
            if page.evaluate(f"e => {condition}", focused):
                return
        raise AssertionError(f"no way by Tab to {condition}")

    def button(text: str) -> str:
        return f"(e.tagName === 'BUTTON' || e.tagName === 'A') && e.textContent.trim() === {json.dumps(text)}"

    tab_to("e.id === 'email'")
    keyboard.type(site.scene["email"])
    tab_to("e.id === 'password'", 1)
    keyboard.type(site.scene["password"])
    keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    # The first stop of every page leads past the menu.
    keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    keyboard.press("Enter")
    tab_to(button("Add a device"))
    keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Add New Cloud Device")).to_be_visible()
    tab_to("e.id === 'name'")
    keyboard.type("Lab MISP")
    tab_to("e.id === 'device_type'", 1)
    keyboard.type("MISP")
    tab_to(button("Add"))
    keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Connect Lab MISP")).to_be_visible()
    tab_to(button("Make the group"))
    keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Waiting for the first pull")).to_be_visible()
    site.pull(site.form_values())
    expect(page.get_by_role("heading", name="It pulls")).to_be_visible()
    expect(page.locator("[data-while-waiting]")).to_be_hidden()
    # The rule wizard: three steps, and no mouse.
    page.goto("/automation/policy/new")
    tab_to("e.id === 'name'")
    keyboard.type("Bad hosts")
    tab_to("e.value === 'domain'")
    keyboard.press("Space")
    tab_to(button("Next"))
    keyboard.press("Enter")
    expect(page.locator("legend", has_text="2. IOC Feed")).to_be_focused()
    tab_to("e.name === 'alerts'")
    keyboard.press("Space")
    tab_to("e.value === 'Phishing'")
    keyboard.press("Space")
    tab_to(button("Who is affected?"))
    keyboard.press("Enter")
    expect(page.locator("#count")).to_contain_text("0 IOCs are chosen")
    tab_to(button("Next"))
    keyboard.press("Enter")
    tab_to("e.name === 'group_ids'")
    keyboard.press("Space")
    tab_to(button("Finish"))
    keyboard.press("Enter")
    expect(page.locator("p.said")).to_contain_text("The rule Bad hosts is saved")
    rule = next(r for r in site.api("GET", "/rules").json()["items"] if r["name"] == "Bad hosts")
    assert rule["criteria"]["kinds"] == ["domain"] and len(rule["group_ids"]) == 1, rule
    alerts = rule["criteria"]["alerts"]
    assert alerts["types"] == ["Phishing"] and alerts["since"] and not alerts["past"], "an alert policy acts on new alerts"
    expect(page.locator("tr", has_text="Bad hosts")).to_contain_text(f"in alerts of type Phishing since {alerts['since'][:10]}")
    # Something else of it is changed: since when it acts stays.
    page.goto(f"/automation/policy/{rule['id']}")
    expect(page.get_by_label("Phishing", exact=True)).to_be_checked()
    page.get_by_label("high", exact=True).first.check()
    page.get_by_role("button", name="Who is affected?").click()
    expect(page.locator("#count")).to_contain_text("as it is saved: 0")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("p.said")).to_contain_text("is saved")
    after = site.api("GET", f"/rules/{rule['id']}").json()["criteria"]
    assert after == {**rule["criteria"], "severities": ["high"]}, after


def without_script(site: Site) -> None:
    context = site.fresh_context(java_script_enabled=False)
    page = site.page = context.new_page()
    site.sign_in()
    site.add_device("Plain MISP")
    page.get_by_role("button", name="Make the group").click()
    values = site.form_values()
    site.pull(values)
    page.goto("/tip/sources")
    page.fill("#name", "By hand")
    page.get_by_role("button", name="Add source").click()
    page.fill("#pasted", "evil[.]example\nnot an ioc\n203.0.113.7")
    page.get_by_role("button", name="Check, write nothing").click()
    expect(page.locator("#import-report")).to_contain_text("would do")
    assert page.input_value("#pasted").startswith("evil[.]example"), "what was pasted stays"
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-report dd").first).to_have_text("2")
    expect(page.locator("#import-report")).to_contain_text("not an ioc")
    page.goto("/automation/policy")
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("p.said")).to_contain_text("is off")
    page.get_by_role("link", name="Add rule").click()
    page.fill("#name", "Domains")
    page.get_by_label("domain", exact=True).check()
    page.get_by_role("button", name="Who is affected?").click()
    expect(page.locator("#count")).to_contain_text("1 IOC is chosen now")
    page.get_by_label("Plain MISP", exact=True).check()
    page.get_by_role("button", name="Finish").click()
    expect(page.locator("p.said")).to_contain_text("The rule Domains is saved")
    page.goto("/automation/integrations?q=plain&sort=state")
    expect(page.locator("table tbody tr")).to_have_count(1)
    site.advance("49h")
    expect(page.locator("[data-condition]")).to_contain_text("Silent")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def the_rest_of_the_pages(site: Site) -> None:
    """Keys, groups, sending again, priority, users, audit: what an admin does now and then."""
    page = site.page
    site.sign_in()
    site.add_device("Lab MISP")
    page.get_by_role("button", name="Make the group").click()
    first = site.form_values()
    for name in ("Alpha", "Beta"):
        source = site.api("POST", "/sources", json={"name": name, "confidence": 2}).json()["id"]
        site.api("POST", f"/sources/{source}/iocs", data=f"{name}.example\n203.0.113.{len(name)}\n", headers={"Content-Type": "text/plain"})
    page.get_by_role("link", name="To the device").click()

    # Keys: made, rotated with an overlap, revoked.
    keys = page.locator("section", has=page.get_by_role("heading", name="Keys of this device"))
    keys.get_by_text("Rotate").click()
    keys.get_by_role("button", name="Make the new key").click()
    secret = page.locator("section.said code").inner_text()
    assert site.pull(first | {"Add Basic Auth: password": secret}).ok and site.pull(first).ok, "the old key works beside the new one"
    page.reload()
    page.goto(page.url)
    expect(keys).to_contain_text("replaced; works until")
    until(lambda: page.reload() is None or "still in use" in keys.inner_text(), "the old key's use shows")
    replaced = keys.locator("tr", has_text="replaced")
    replaced.get_by_text("Revoke").first.click()
    replaced.get_by_role("button", name="Revoke").click()
    expect(page.locator("p.said")).to_contain_text("revoked")
    refused = requests.get(first["URL"] + "/manifest.json", auth=(first["Add Basic Auth: username"], first["Add Basic Auth: password"]), timeout=60)
    assert refused.status_code == 401
    until(lambda: page.reload() is None or "revoked" in " ".join(page.locator(".refused").all_inner_texts()), "the pull log says why it was refused")

    # Try it as the device.
    page.get_by_role("button", name="Try it as the device").click()
    expect(page.locator("#trial")).to_contain_text("200")
    expect(page.locator("#trial pre")).to_contain_text("Lab MISP - ")

    # Pause, change, limits with the same words as the API's.
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".state")).to_contain_text("Paused")
    page.get_by_role("button", name="Watch it again").click()
    page.fill("#ioc_limit", "10")
    page.get_by_role("button", name="Save").click()
    assert "Shrink the group `Lab MISP`" in site.wrong()[0], site.wrong()
    page.fill("#ioc_limit", "50000")
    page.fill("#name", "Lab MISP 2")
    page.fill("#silent_after_hours", "24")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Lab MISP 2")).to_be_visible()
    expect(page.get_by_text("24 hours")).to_be_visible()

    # The group: what it holds and why, files as served, sending again, priority by buttons, by drag.
    page.get_by_role("link", name="Lab MISP", exact=True).click()
    until(lambda: page.reload() is None or page.get_by_text("alpha.example").count() > 0, "the IOCs show")
    expect(page.locator("tr", has_text="alpha.example")).to_contain_text("rule Lab MISP")
    page.fill("#q", "ALPHA[.]example")
    page.get_by_role("button", name="Search").click()
    rows = page.locator("section", has=page.get_by_role("heading", name="What it holds now")).locator("tbody tr")
    expect(rows).to_have_count(1)
    rows.get_by_role("button", name="Send again").click()
    expect(page.locator("p.said")).to_contain_text("1 IOC goes out again")
    page.get_by_role("button", name="Send everything again").click()
    expect(page.locator("p.said")).to_contain_text("4 IOCs go out again")
    items = page.locator(".priority li .name")
    expect(items).to_have_text(["Alpha", "Beta"])
    page.get_by_role("button", name="Down Alpha").click()
    expect(items).to_have_text(["Beta", "Alpha"])
    page.locator(".priority li").first.drag_to(page.locator(".priority li").last, target_position={"x": 50, "y": 30})
    expect(items).to_have_text(["Alpha", "Beta"])
    page.get_by_role("button", name="Up Beta").click()
    page.fill("#limit", "3")
    page.get_by_role("button", name="Save").click()
    expect(items).to_have_text(["Beta", "Alpha"])
    until(lambda: page.reload() is None or page.get_by_text("over the limit of 3").count() > 0, "what was cut shows")
    page.get_by_role("link", name="manifest.json").click()
    expect(page.locator("pre")).to_contain_text("Lab MISP - ")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the file").click()
    assert json.loads(pathlib.Path(saved.value.path()).read_text())

    # An IOC: everything, where it went, never sent.
    page.goto("/tip/iocs?q=beta.example&match=exact")
    page.get_by_role("link", name="beta.example").click()
    expect(page.get_by_role("heading", name="Where it went")).to_be_visible()
    expect(page.get_by_text("In the group")).to_be_visible()
    page.select_option("#whitelist", "never_sent")
    page.select_option("#severity", "high")
    page.fill("#user_tags", "ours\ntest range")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".tag").first).to_have_text("ours")
    page.fill("#comment", "It is our own.\n<b>Really.</b>")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("blockquote")).to_contain_text("<b>Really.</b>")
    until(lambda: page.reload() is None or page.get_by_text("Removed").count() > 0, "it left the group")
    # Search as one types, and the address keeps it.
    page.goto("/tip/iocs")
    page.fill("#q", "alpha")
    expect(page.locator("#found tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=alpha"))
    page.select_option("#match", "domain")
    page.fill("#q", "example")
    expect(page.locator("#found tbody tr")).to_have_count(2)

    # People.
    page.goto("/settings/users")
    page.fill("#email", "not an address")
    page.get_by_role("button", name="Send the invitation").click()
    assert "e-mail address" in site.wrong()[0]
    page.fill("#email", "ann@example.com")
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.locator("p.said")).to_contain_text("ann@example.com")
    row = page.locator("tr", has_text=site.scene["email"])
    row.get_by_label("mail alerts").uncheck()
    row.get_by_role("button", name="Save").click()
    expect(page.locator(".trouble")).to_contain_text("Nobody is told")
    page.goto("/automation/integrations")
    expect(page.locator(".trouble")).to_contain_text("Nobody is told")

    # Subscription: keys once, thresholds, webhook.
    page.goto("/settings/subscription")
    page.get_by_role("button", name="Make an appliance key").click()
    assert page.locator("section.said code").inner_text().startswith("iak_")
    page.fill("#silent_after_hours", "721")
    page.get_by_role("button", name="Save").click()
    assert "1 to 720" in site.wrong()[0]
    page.fill("#silent_after_hours", "72")
    page.fill("#webhook_url", "https://hooks.example.com/iocast")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("code.secret")).to_contain_text("whsec_")

    # Mail: a test message with the answer.
    page.goto("/settings/mail")
    page.get_by_role("button", name="Send a test message").click()
    expect(page.locator("p.said")).to_contain_text("The test message to")

    # Audit: who, what, before and after; a table that spreadsheets take for nothing else.
    page.goto("/settings/audit?action=device")
    expect(page.locator("tbody tr", has_text="device.update").filter(has_text="silent after")).to_contain_text("Lab MISP 2")
    expect(page.locator("tbody tr del").first).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Export as CSV").click()
    table = pathlib.Path(saved.value.path()).read_text()
    assert table.startswith('"at","actor","action"') and "device.update" in table and "user.invite" not in table

    # A password, and the other sessions.
    second = site.fresh_context().new_page()
    site.sign_in(second)
    page.goto("/settings/profile")
    expect(page.get_by_role("button", name="End it")).to_have_count(2)
    page.fill("#present", "wrong")
    page.fill("#password", "a much longer phrase")
    page.fill("#again", "another phrase")
    page.get_by_role("button", name="Change it").click()
    assert "not the same" in site.wrong()[0]
    page.fill("#present", "wrong")
    page.fill("#password", "a much longer phrase")
    page.fill("#again", "a much longer phrase")
    page.get_by_role("button", name="Change it").click()
    assert "present password" in site.wrong()[0]
    page.fill("#present", site.scene["password"])
    page.fill("#password", "a much longer phrase")
    page.fill("#again", "a much longer phrase")
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("p.said")).to_contain_text("Your password is changed")
    # The other one's session is over; signed in again, it is back where it was.
    second.goto("/settings/audit?action=device")
    expect(second.get_by_text("Your session has ended")).to_be_visible()
    second.fill("#email", site.scene["email"])
    second.fill("#password", "a much longer phrase")
    second.get_by_role("button", name="Sign in").click()
    expect(second).to_have_url(re.compile(r"/settings/audit\?action=device$"))

    # Deleting asks for the name.
    page.goto("/automation/integrations")
    page.get_by_role("link", name="Lab MISP 2").click()
    page.get_by_text("Delete this device").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    assert "Type the device's name" in site.wrong()[0]
    page.fill("#typed", "Lab MISP 2")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="No device yet")).to_be_visible()


def an_analyst_looks_and_changes_nothing(site: Site) -> None:
    page = site.page
    furnish(site)
    site.sign_in(email=site.scene["analyst"], password=site.scene["analyst_password"])
    expect(page.get_by_role("link", name="Add new device")).to_have_count(0)
    expect(page.get_by_role("link", name="Settings", exact=True)).to_have_count(0)
    for path in pages(site):
        answer = page.goto(path)
        closed = path.startswith(("/emulator", "/automation/integrations/table", "/settings/subscription", "/settings/service-tokens", "/settings/users", "/settings/guards", "/settings/warninglists", "/settings/mail", "/settings/audit")) or path.endswith("/new")
        assert answer.status == (403 if closed else 200), (path, answer.status)
        buttons = [b.inner_text() for b in page.locator("main button:visible").all()]
        harmless = {"Show", "Search", "Copy", "Copy all fields", "Change it", "End it", "Back", "Next", "Compare", "Who is affected?", "Look"}
        assert all(b.split("\n")[0] in harmless for b in buttons), (path, buttons)


def furnish(site: Site) -> None:
    """A device that pulled, fell silent and came back, groups, rules, sources, IOCs with everything, messages."""
    device = site.api("POST", "/devices", json={"name": "Lab MISP", "device_type": "misp"}).json()["id"]
    group = site.api("POST", f"/devices/{device}/groups", json={"name": "Perimeter", "limit": 40, "notify_on_limit": True}).json()
    site.api("POST", "/devices", json={"name": "Branch MISP", "device_type": "misp"})
    source = site.api("POST", "/sources", json={"name": "Own feed", "confidence": 3}).json()["id"]
    iocs = [
        {
            "value": f"host{n}.example", "severity": ["low", "medium", "high"][n % 3], "user_tags": ["phishing"], "system_tags": ["botnet"], "threat_actors": ["fin7"],
            "campaigns": ["autumn"], "malware_families": ["qakbot"], "alert_id": f"alert{n}", "score": n,
        }
        for n in range(60)
    ]
    site.api("POST", f"/sources/{source}/iocs", json={"iocs": iocs})
    key = site.api("POST", f"/devices/{device}/keys", json={}).json()["secret"]
    auth = (site.scene["account_id"], key)
    assert requests.get(group["url"] + "/manifest.json", auth=auth, timeout=60).ok
    assert requests.get(group["url"] + "/manifest.json", auth=(auth[0], "wrong"), timeout=60).status_code == 401
    until(lambda: site.api("GET", f"/devices/{device}").json()["sync"]["reason"] == "synced", "the pull shows")
    site.api("POST", "/emulator/clock", json={"advance": "49h"})
    # An address that nobody may fetch from: the page says so.
    site.api("PUT", f"/sources/{source}/subscription", json={"url": "http://127.0.0.1:9/list.txt", "coverage": "full"})
    until(lambda: site.api("GET", f"/sources/{source}/subscription").json()["error"], "the fetch failed")
    second = site.api("POST", "/sources", json={"name": "Second feed", "confidence": 2}).json()["id"]
    site.api("POST", f"/sources/{second}/iocs", json={"iocs": [{"value": f"host{n}.example"} for n in range(40, 70)]})
    site.api("POST", "/sources/quality/count")
    review = "review-a.example\nhttp://review-b.example/x\n10.0.0.1\nno indicator\n"
    site.api("POST", f"/sources/{source}/iocs?review=true&file_name=for-review.txt", data=review, headers={"Content-Type": "text/plain"})
    ioc = site.api("GET", "/iocs?limit=1").json()["items"][0]["id"]
    site.api("PATCH", f"/iocs/{ioc}", json={"comment": "Seen at a customer."})
    edge = site.api("POST", "/devices", json={"name": "Edge", "device_type": "panos-edl"}).json()["id"]
    guarded = site.api("POST", f"/devices/{edge}/groups", json={"name": "Edge addresses", "kind": "ip", "default_rule": False}).json()["id"]
    edge_source = site.api("POST", "/sources", json={"name": "Edge feed", "confidence": 2}).json()["id"]
    site.api("POST", "/rules", json={"name": "Edge", "criteria": {"kinds": ["ipv4"], "source_ids": [edge_source]}, "group_ids": [guarded]})
    addresses = [f"203.0.113.{n}" for n in range(30)] + ["10.0.0.1", "8.8.8.8", "64.0.0.0/7"]
    site.api("POST", f"/sources/{edge_source}/iocs", data="\n".join(addresses), headers={"Content-Type": "text/plain"})
    until(lambda: site.api("GET", f"/groups/{guarded}").json()["published"] == 30, "the edge's list is published")
    site.api("PATCH", f"/sources/{edge_source}", json={"enabled": False})
    until(lambda: site.api("GET", f"/groups/{guarded}").json()["held"], "a loss is held")
    allowed = {"value": "partner.example", "comment": "Until the contract ends", "expires_at": "2099-12-31T00:00:00Z", "device_id": edge}
    site.api("POST", "/account/guards/allow", json={"add": [allowed, {"value": "198.51.100.0/24", "source_id": edge_source}]})
    for name, kind, entries in [("Shared hosts", "hostname", ["host7.example"]), ("Ranges", "cidr", ["198.51.100.0/24", "nonsense"])]:
        shared = {"name": name, "type": kind, "version": 20260901, "description": "Hosts that many use.", "list": entries}
        site.api("POST", "/warninglists", json=shared)


def pages(site: Site) -> list[str]:
    """The address of every page of the product, with the things that are there."""
    devices = {d["name"]: d for d in site.api("GET", "/devices").json()["items"] if d["groups"]}
    edge = devices.pop("Edge", None)
    device = next(iter(devices.values()))
    group = device["groups"][0]["id"]
    ids = {name: site.api("GET", f"/{name}?limit=1").json()["items"][0]["id"] for name in ("iocs",)}
    rule = site.api("GET", "/rules").json()["items"][0]["id"]
    source = site.api("GET", "/sources").json()["items"][0]["id"]
    return [
        "/",
        "/search?q=host",
        "/automation/integrations/table",
        "/automation/integrations",
        "/automation/integrations?tab=on_premises",
        "/automation/integrations/new",
        f"/automation/integrations/{device['id']}",
        f"/automation/integrations/{device['id']}/setup",
        f"/automation/groups/{group}",
        f"/automation/groups/{group}/files/manifest.json",
        "/automation/policy",
        "/automation/policy/new",
        f"/automation/policy/{rule}",
        "/tip/iocs",
        f"/tip/iocs/{ids['iocs']}",
        "/tip/sources",
        f"/tip/sources/{source}",
        "/tip/sources/public",
        "/tip/sources/quality",
        f"/tip/sources/{source}/subscription",
        "/tip/imports",
        "/tip/alerts",
        f"/tip/alerts/{site.alert('Leaked list', ['host1.example', '198.51.100.9'])}",
        "/tip/blocklist",
        *(f"/tip/imports/{i['id']}{'?undo=1' if i['state'] == 'done' else ''}" for i in site.api("GET", "/imports?limit=3").json()["items"]),
        "/settings/subscription",
        "/settings/service-tokens",
        "/settings/users",
        "/settings/guards",
        "/settings/warninglists",
        "/settings/mail",
        "/settings/audit",
        "/settings/profile",
        "/emulator",
        *(pages_of_edge(site, edge) if edge else []),
    ]


def pages_of_edge(site: Site, edge: dict) -> list[str]:
    """The pages of a firewall whose next publication is held."""
    held = edge["groups"][0]["id"]
    last = site.api("GET", f"/groups/{held}").json()["publication"]
    return [f"/automation/integrations/{edge['id']}/setup?group={held}", f"/automation/groups/{held}", f"/automation/groups/{held}/compare?from=1&to={last}"]


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


OPEN_PAGES = ["/sign-in", "/forgotten-password", "/password", "/nowhere", "/help", "/help/conformance", "/help?q=backup"]


def on_every_page(site: Site, widths: tuple[int, int], look: Callable[[Page, str, str, int], None], each: bool = True) -> None:
    """Opens every page, light and dark, in both widths; or each theme and each width once."""
    for scheme in ("light", "dark"):
        for width in widths:
            if not each and (scheme == "light") != (width == widths[0]):
                continue
            context = site.fresh_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            page = context.new_page()
            for path in [*OPEN_PAGES, None, *pages(site)]:
                if path is None:
                    site.sign_in(page)
                    continue
                page.goto(path, wait_until="load")
                look(page, path, scheme, width)
            context.close()


def every_page_is_accessible(site: Site) -> None:
    furnish(site)
    axe = Axe()
    found = []

    def look(page: Page, path: str, scheme: str, width: int) -> None:
        open_all(page)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            found.append((path, scheme, width, f"{wide} px too wide"))
        for violation in axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.append((path, scheme, width, violation["id"], violation["nodes"][0]["html"][:200], violation["nodes"][0]["failureSummary"][:300]))

    # Each theme and each width once, but for the long run.
    on_every_page(site, (1280, 320), look, each=bool(os.environ.get("IOCAST_LONG")))
    assert not found, "\n".join(map(str, found))


def a_form_outlives_its_session(site: Site) -> None:
    """A form that is sent after the session ended is offered again once somebody signed in."""
    axe = Axe()
    folder = pathlib.Path(site.scene["pictures"])
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for scheme in ("light", "dark"):
        for width in (1280, 320):
            context = site.fresh_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            page = context.new_page()

            def look(name: str) -> None:
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, (name, scheme, width, wide)
                serious = [v for v in axe.run(page, options={"resultTypes": ["violations"]}).response["violations"] if v["impact"] in ("serious", "critical")]
                assert not serious, (name, scheme, width, serious)
                page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)

            site.sign_in(page)
            made += 1
            page.goto("/automation/integrations/new")
            page.fill("#name", f"Kept {made}")
            page.select_option("#device_type", "misp")
            # The session ends; the browser still has its cookie.
            [cookie] = [c for c in context.cookies() if c["name"] == "iocast"]
            context.add_cookies([{**cookie, "value": "ended"}])
            page.get_by_role("button", name="Add", exact=True).click()
            expect(page.get_by_text("what you filled in is kept")).to_be_visible()
            look("kept-sign-in")
            page.fill("#email", site.scene["email"])
            page.fill("#password", site.scene["password"])
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("heading", name="You are signed in again")).to_be_visible()
            expect(page.get_by_text(f"Kept {made}")).to_be_visible()
            look("kept-form")
            page.get_by_role("button", name="Send it now").click()
            expect(page.get_by_role("heading", name=f"Connect Kept {made}")).to_be_visible()
            context.close()


def texts_are_shown_literally(site: Site) -> None:
    """60 payloads in every stored text: on no page does one of them do anything but stand there."""
    page = site.page
    device = site.api("POST", "/devices", json={"name": "Lab MISP", "device_type": "misp"}).json()["id"]
    group = site.api("POST", f"/devices/{device}/groups", json={"name": "Perimeter"}).json()
    key = site.api("POST", f"/devices/{device}/keys", json={}).json()["secret"]
    auth = (site.scene["account_id"], key)
    sources = []
    for n, payload in enumerate(PAYLOADS):
        name = f"{n} " + re.sub(r'["\x00-\x1f\x7f-\x9f]', "'", payload)[:95]
        sources.append(site.api("POST", "/sources", json={"name": name, "confidence": 2}).json()["id"])
        assert requests.get(group["url"] + "/manifest.json", auth=auth, headers={"User-Agent": payload.encode()}, timeout=60).ok
    iocs = []
    for n, payload in enumerate(PAYLOADS):
        texts = {field: [payload] for field in ("user_tags", "system_tags", "threat_actors", "campaigns", "malware_families")}
        iocs.append({"value": f"http://host{n}.example/{payload}", "alert_id": payload[:60]} | texts)
        iocs.append({"value": f"host{n}.example"} | texts)
    report = site.api("POST", f"/sources/{sources[0]}/iocs", json={"iocs": iocs}).json()
    assert report["accepted"] >= 60, report
    # What was refused is told with the value: that, too, must stand there literally.
    site.api("POST", f"/sources/{sources[1]}/iocs", json={"iocs": iocs[:20]})
    shown = site.api("GET", "/iocs?limit=1000").json()["items"]
    one = shown[0]["id"]
    for payload in PAYLOADS:
        site.api("PATCH", f"/iocs/{one}", json={"comment": payload})
    site.api("POST", "/rules", json={"name": "Nasty", "criteria": {"tags": PAYLOADS, "source_ids": sources}, "group_ids": [group["id"]]})
    until(lambda: site.api("GET", f"/groups/{group['id']}").json()["published"] > 0, "the group serves")
    site.api("POST", "/emulator/clock", json={"advance": "49h"})

    site.sign_in()
    expect(page.locator(".account")).to_have_text(site.scene["account_name"])
    page.goto(f"/tip/iocs/{one}")
    said = [c.inner_text() for c in page.locator("blockquote .literal").all()]
    expected = [p.strip() for p in PAYLOADS]
    assert [s.strip("\u2028\u2029 ") for s in said] == [e.strip("\u2028\u2029 ") for e in expected], [(s, e) for s, e in zip(said, expected) if s != e]
    visited = pages(site)
    visited += [f"/tip/iocs/{i['id']}" for i in shown[:: max(1, len(shown) // 30)]]
    visited += [f"/tip/sources/{s}" for s in sources[::6]]
    for path in visited:
        answer = page.goto(path, wait_until="load")
        assert answer.status == 200, path
        open_all(page)
        # Pointers and focus set things off, too.
        for spot in page.locator("main x, main marquee, main [onerror], main [onload], main iframe, main object, main embed, main [style]").all():
            raise AssertionError((path, spot.evaluate("e => e.outerHTML")))
    page.goto(f"/tip/sources/{sources[0]}")
    page.fill("#pasted", "\n".join(PAYLOADS))
    # Left to itself, iocast takes it for a page.
    page.select_option("#form", "list")
    page.get_by_role("button", name="Check, write nothing").click()
    expect(page.locator("#import-report")).to_contain_text("<script>")
    page.set_input_files("#file", files=[{"name": "nasty.txt", "mimeType": "text/plain", "buffer": "\n".join(PAYLOADS).encode()}])
    page.get_by_role("button", name="Check, write nothing").click()
    expect(page.locator("[data-report] #import-report")).to_contain_text("<script>")
    page.goto("/automation/integrations?q=" + urllib.parse.quote(PAYLOADS[4]) + "&state=" + urllib.parse.quote(PAYLOADS[5]) + "&sort=" + urllib.parse.quote(PAYLOADS[4]))
    assert page.input_value("#q") == PAYLOADS[4]
    page.goto("/sign-in?next=" + urllib.parse.quote("//evil.example/"))
    assert page.url.startswith(site.url), "signing in leads nowhere else"


def analysts_files(site: Site) -> None:
    """Files as analysts have them are dropped, checked and taken; the page says what they were read as."""
    site.sign_in()
    page = site.page
    page.goto("/tip/sources")
    page.fill("#name", "Files")
    page.get_by_role("button", name="Add source").click()
    bundle = {
        "type": "bundle",
        "id": "bundle--1",
        "objects": [
            {"type": "indicator", "id": "indicator--1", "pattern": "[domain-name:value = 'evil-one.example']"},
            {"type": "indicator", "id": "indicator--2", "pattern": "[file:name = 'x.exe']"},
        ],
    }
    table = "\ufeffIndicator_type,Data,Note\nsha1,a94a8fe5ccb19ba61c4c0873d391e987982fbbd3,dropper\nurl,hxxps://evil-two[.]example/x,download\nfile_path,C:\\x.exe,\n"
    report = page.locator("[data-report] #import-report")
    for name, text, form, new, refused in [
        ("bundle.stix2", json.dumps(bundle), "JSON", "1", "file:name"),
        ("sophos.csv", table, "a table", "2", "file_path"),
    ]:
        page.set_input_files("#file", files=[{"name": name, "mimeType": "", "buffer": text.encode()}])
        page.get_by_role("button", name="Check, write nothing").click()
        expect(report).to_contain_text("This is what the import would do")
        expect(report).to_contain_text(f"Read as {form}.")
        expect(report).to_contain_text(refused)
        page.get_by_role("button", name="Import", exact=True).click()
        expect(report).to_contain_text("The import is done")
        expect(report.locator("dd").first).to_have_text(new)
    # A PDF is read; one that can't be says why.
    page.set_input_files("#file", files=[{"name": "paper.pdf", "mimeType": "", "buffer": b"%PDF-1.7"}])
    page.get_by_role("button", name="Check, write nothing").click()
    expect(page.locator("[data-report] [role=alert]")).to_contain_text("The PDF can't be read: it is broken")
    paper = base64.b64decode(site.scene["paper"])
    page.set_input_files("#file", files=[{"name": "paper.pdf", "mimeType": "", "buffer": paper}])
    page.get_by_role("button", name="Review first").click()
    expect(page).to_have_url(re.compile(r"/tip/imports/[0-9a-f-]+$"))
    expect(page.get_by_role("heading", name="paper.pdf")).to_be_visible()
    expect(page.locator("main")).to_contain_text("Read as a report from a PDF.")
    row = page.get_by_role("row", name=re.compile("evil-paper-two"))
    expect(row).to_contain_text("new")
    row.get_by_role("checkbox").uncheck()
    page.fill("#tag", "from paper")
    page.get_by_role("button", name="Take it").click()
    expect(page.locator("p.said")).to_contain_text("The import is taken")
    expect(page.locator("dl.figures")).to_contain_text("Left out")
    assert page.locator("dl.figures dd").first.inner_text() == "1"
    # It was a mistake.
    page.get_by_role("link", name="See what it would do").click()
    expect(page.locator("main")).to_contain_text("1 IOC is reported by nobody else")
    page.get_by_role("button", name="Undo this import").click()
    expect(page.locator("p.said")).to_contain_text("The import is undone")
    page.goto("/tip/imports")
    expect(page.get_by_role("row", name=re.compile("paper.pdf"))).to_contain_text("undone")
    page.goto("/tip/sources")
    page.get_by_role("link", name="Files", exact=True).click()
    # A choice wins over what is found out, and what was left out of an IOC is listed.
    page.fill("#pasted", "value,severity\nevil-three.example,awful\n")
    page.select_option("#form", "table")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-report")).to_contain_text("Fields left out of IOCs that were taken")
    expect(page.locator("#import-report")).to_contain_text("`awful`")


def subscriptions(site: Site) -> None:
    """A source fetches a list: subscribed, tried, failing, taken, ended."""
    import http.server
    import threading

    class Feed(http.server.BaseHTTPRequestHandler):
        body, key = b"evil-one.example\nevil-two.example\n", "lamp river"

        def do_GET(self) -> None:
            allowed = self.headers.get("Auth-Key") == Feed.key
            body = Feed.body if allowed else b"give a key"
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said) -> None:
            pass

    feed = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Feed)
    threading.Thread(target=feed.serve_forever, daemon=True).start()
    site.sign_in()
    page = site.page
    page.goto("/tip/sources")
    page.fill("#name", "Public list")
    page.get_by_role("button", name="Add source").click()
    page.get_by_role("link", name="Its subscription").click()
    # What is wrong is said, and what was typed stays.
    page.fill("#url", "example.com/list")
    page.fill("#access_name", "Auth-Key")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator("main")).to_contain_text("Give a whole address, such as https://example.com/list.txt.")
    assert page.input_value("#access_name") == "Auth-Key"
    page.fill("#url", f"http://127.0.0.1:{feed.server_port}/list.txt")
    page.select_option("#access", "header")
    page.fill("#secret", "wrong")
    page.select_option("#coverage", "full")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator("p.said")).to_contain_text("the list is fetched at once")
    source = page.url.split("/")[-2]
    until(lambda: site.api("GET", f"/sources/{source}/subscription").json()["failures"], "the first fetch failed")
    page.reload()
    expect(page.locator("main")).to_contain_text("Failing: The server answered 401 Unauthorized. Check the access of this subscription. It says: give a key")
    page.fill("#secret", Feed.key)
    page.get_by_role("button", name="Save", exact=True).click()
    until(lambda: site.api("GET", f"/sources/{source}/subscription").json()["freshness"] == "fresh", "the list is taken")
    page.reload()
    expect(page.locator("main")).to_contain_text("Fresh")
    assert page.input_value("#secret") == "" and Feed.key not in page.content()
    Feed.body = b"evil-two.example\nevil-three.example\nnonsense\n"
    page.get_by_role("button", name="Try it, write nothing").click()
    expect(page.locator("#import-report")).to_contain_text("This is what the import would do")
    page.get_by_role("button", name="Fetch now", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("Fetched: 1 new, 0 changed, 1 gone.")
    # In the list, new, changed, gone, refused.
    row = page.get_by_role("row", name=re.compile("Taken 2 1 0 1 1$"))
    row.get_by_role("link").click()
    expect(page).to_have_url(re.compile("/tip/imports/"))
    page.goto(f"/tip/sources/{source}/subscription")
    page.get_by_text("End this subscription").click()
    page.get_by_role("button", name="End it").click()
    expect(page.locator("p.said")).to_contain_text("what it brought stays")
    feed.shutdown()


def the_emulator(site: Site) -> None:
    """Fixtures are loaded, a scenario runs, calls meet a fault, and what a client asked is downloaded."""
    site.sign_in()
    page = site.page
    page.get_by_role("link", name="Emulator").click()
    expect(page.locator("main")).to_contain_text("No request meets a fault.")
    page.get_by_role("button", name="Load small").click()
    expect(page.locator("p.said")).to_contain_text("Loaded: 5 sources, 31 IOCs, 2 alerts, 4 devices.")
    page.get_by_role("button", name="Load small").click()
    expect(page.locator("p.trouble")).to_contain_text("The account has fixtures already")
    page.get_by_role("button", name="Start key_is_rotated").click()
    run = page.get_by_role("row", name=re.compile("^key_is_rotated .*First key: ")).first
    expect(run).to_contain_text("The first key has expired")
    page.fill("#advance", "10m")
    page.get_by_role("button", name="Advance").click()
    expect(page.get_by_role("row", name=re.compile("^key_is_rotated .*Ended")).first).to_be_visible()
    # A fault is added; a wrong one keeps what was typed.
    page.get_by_text("Add a fault").click()
    page.fill("#path", "public")
    page.fill("#times", "2")
    page.get_by_role("button", name="Add the fault").click()
    expect(page.locator("#path-wrong")).to_contain_text("Give a path such as /public/v3/iocs")
    assert page.input_value("#times") == "2"
    page.fill("#path", "/public/*")
    page.get_by_role("button", name="Add the fault").click()
    expect(page.locator("p.said")).to_contain_text("Requests of /public/* meet a fault from now on.")
    key = site.api("POST", "/keys", json={"kind": "api"}).json()["secret"]
    account = site.api("GET", "/account").json()["id"]
    asked = requests.get(f"{site.url}/public/v1/api/version", auth=(account, key), headers={"User-Agent": "integrator/1.0"}, timeout=10)
    assert (asked.status_code, asked.headers["Retry-After"]) == (429, "1"), asked.headers
    page.reload()
    expect(page.locator("tr", has_text="status 429")).to_contain_text("1 more")
    with page.expect_download() as download:
        page.get_by_role("link", name="HAR of integrator/1.0").click()
    log = json.loads(pathlib.Path(download.value.path()).read_text())["log"]
    assert log["entries"][0]["response"]["status"] == 429 and key not in json.dumps(log), log
    page.get_by_role("button", name="End all").click()
    page.get_by_role("button", name="Delete the recordings").click()
    expect(page.locator("main")).to_contain_text("No client has asked yet.")


def public_feeds(site: Site) -> None:
    """A public feed is followed in two clicks; one that asks for a key says where to get it."""
    site.sign_in()
    page = site.page
    page.goto("/tip/sources")
    page.get_by_role("link", name="follow a public feed").click()
    row = page.get_by_role("row", name=re.compile("URLhaus, online now"))
    row.get_by_role("button").click()
    expect(page.locator("main")).to_contain_text("abuse.ch asks for a key: https://urlhaus.abuse.ch/api/")
    page.get_by_role("button", name="Follow CERT Polska warning list").click()
    expect(page.locator("p.said")).to_contain_text("The source is made, and its first fetch is under way.")
    source = page.url.split("/")[-2]
    # The proxy of this test reaches nothing.
    until(lambda: site.api("GET", f"/sources/{source}/subscription").json()["failures"], "the first fetch failed")
    page.reload()
    expect(page.locator("main")).to_contain_text("Failing: The server could not be reached")
    assert page.input_value("#url") == "https://hole.cert.pl/domains/v2/domains.txt"
    # What is said of few is folded away, and kept where a field is wrong.
    page.get_by_text("What is taken of it").click()
    page.get_by_label("domain", exact=True).check()
    page.select_option("#tlp_most", "green")
    page.fill("#tags", "feed:cert-pl\nphishing")
    page.fill("#max_age_days", "0")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("main")).to_contain_text("Give 1 to 3,650 days.")
    assert page.input_value("#tags") == "feed:cert-pl\nphishing"
    page.fill("#max_age_days", "30")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("Saved")
    kept = site.api("GET", f"/sources/{source}/subscription").json()
    assert (kept["kinds"], kept["tlp_most"], kept["tags"], kept["max_age_days"]) == (["domain"], "green", ["feed:cert-pl", "phishing"], 30), kept
    page.goto("/tip/sources/public")
    page.get_by_role("link", name=re.compile("Followed.*CERT Polska")).click()
    expect(page).to_have_url(re.compile(f"/tip/sources/{source}/subscription"))


def sources_fail_recover_and_are_compared(site: Site) -> None:
    """A source is tried, taken, fails, is written about, recovers, and is compared with another one."""
    page, feed = site.page, site.scene
    file = pathlib.Path(feed["folder"]) / "list.csv"
    file.write_text("boese;stufe\na.example;high\nb.example;low\n")
    site.sign_in()
    page.goto("/tip/sources")
    page.fill("#name", "Own list")
    page.get_by_role("button", name="Add source").click()
    source = page.url.split("/")[-1]
    page.get_by_role("link", name="Its subscription").click()
    page.fill("#url", f"{feed['feed']}/list.csv")
    page.fill("#every_minutes", "60")
    page.select_option("#coverage", "full")
    page.get_by_text("Times, pages and columns").click()
    page.fill("#columns", "boese = value\nstufe = colour")
    page.check("input[name=paused]")
    page.get_by_role("button", name=re.compile("^(Save|Subscribe)$")).click()
    expect(page.locator("main")).to_contain_text("`colour` is nothing that a column holds.")
    assert page.input_value("#url").endswith("/list.csv")
    page.fill("#columns", "boese = value\nstufe = severity")
    page.get_by_role("button", name=re.compile("^(Save|Subscribe)$")).click()
    expect(page.locator("p.said")).to_contain_text("Saved")
    page.get_by_role("button", name="Try it, write nothing").click()
    report = page.locator("#import-report")
    expect(report).to_contain_text("This is what the import would do")
    expect(report.get_by_role("row", name=re.compile("a.example domain is new .* high"))).to_be_visible()
    assert site.api("GET", "/iocs").json()["items"] == []
    page.get_by_role("button", name="Fetch now", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("Fetched: 2 new, 0 changed, 0 gone.")
    expect(page.locator("main")).to_contain_text("Last fetched well")
    # It fails for hours: the page says why, and one message does.
    file.rename(file.with_suffix(".away"))
    for _ in range(4):
        site.api("POST", "/emulator/clock", json={"advance": "1h"})
        page.get_by_role("button", name="Fetch now", exact=True).click()
        expect(page.locator("p.said")).to_contain_text("The fetch failed, and nothing changed")
    page.goto("/tip/sources")
    row = page.get_by_role("row", name=re.compile("Own list"))
    expect(row).to_contain_text("404")
    until(lambda: "fetch" in site.api("GET", "/outbox").text, "a message is written")
    page.goto("/settings/mail")
    expect(page.locator("main")).to_contain_text("Source Own list can't fetch")
    file.with_suffix(".away").rename(file)
    page.goto(f"/tip/sources/{source}/subscription")
    page.get_by_role("button", name="Fetch now", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("Fetched: nothing changed.")
    page.goto("/settings/mail")
    expect(page.locator("main")).to_contain_text("Source Own list fetches again")
    # Two sources are compared.
    other = site.api("POST", "/sources", json={"name": "Second list", "confidence": 2}).json()["id"]
    site.api("POST", f"/sources/{other}/iocs", data="b.example\nc.example\nd.example\ne.example\n", headers={"Content-Type": "text/plain"})
    page.goto("/tip/sources")
    page.get_by_role("link", name="Compare the sources").click()
    page.get_by_role("button", name="Count now").click()
    expect(page.locator("p.said")).to_contain_text("The sources are counted.")
    each = page.get_by_role("region", name="Each source").get_by_role("row", name=re.compile("Own list"))
    expect(each).to_contain_text("50 %")
    matrix = page.get_by_role("region", name="Overlap of sources")
    expect(matrix.get_by_role("row", name=re.compile("^Own list")).get_by_role("cell").nth(1)).to_have_text(re.compile("50 %|itself"))
    expect(matrix).to_contain_text("25 %")
    page.get_by_role("link", name="Own list").first.click()
    expect(page.get_by_role("heading", name="IOCs by day")).to_be_visible()
    # Limits of its own.
    page.fill("#lifetime_days", "0")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("main")).to_contain_text("Give a lifetime of 1 to 3,650 days.")
    page.fill("#lifetime_days", "20")
    page.select_option("#severity_most", "medium")
    page.get_by_label("url", exact=True).fill("7")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("The changes are saved.")
    limits = site.api("GET", f"/sources/{source}").json()["limits"]
    assert limits == {"lifetime_days": 20, "lifetimes": {"url": 7}, "severity_most": "medium"}, limits


def warninglists(site: Site) -> None:
    """Warninglists are added, tried and switched; entries of the allow list are added and removed."""
    site.sign_in()
    page = site.page
    page.goto("/settings/guards")
    page.get_by_role("link", name="Add lists").click()
    expect(page.locator("#lists")).to_contain_text("None yet")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-said]")).to_have_text("Choose a file first.")
    shared = {"name": "Shared hosts", "type": "hostname", "version": 7, "description": "Many use them.", "list": ["shared.example"]}
    ranges = {"name": "Ranges", "type": "cidr", "version": 1, "list": ["192.0.2.0/24", "nonsense"], "matching_attributes": ["ip-dst"]}
    files = [("shared.json", json.dumps(shared)), ("ranges.json", json.dumps(ranges)), ("broken.json", "{")]
    page.set_input_files("#file", files=[{"name": name, "mimeType": "", "buffer": text.encode()} for name, text in files])
    page.get_by_role("button", name="Add", exact=True).click()
    said = page.locator("[data-said]")
    expect(said).to_contain_text("shared.json: 1 added.")
    expect(said).to_contain_text("broken.json: This is no warninglist")
    row = page.get_by_role("row", name=re.compile("Shared hosts"))
    expect(row).to_contain_text("warns")
    expect(page.get_by_role("row", name=re.compile("Ranges"))).to_contain_text("1 can't be compared")
    page.fill("#value", "hxxp://a.shared[.]example/x")
    page.get_by_role("button", name="Look up").click()
    expect(page.locator("main")).to_contain_text("is on Shared hosts (warns).")
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Withhold", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("1 list will withhold")
    expect(row).to_contain_text("withholds")
    page.get_by_role("row", name=re.compile("Ranges")).get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("1 list deleted.")
    expect(page.get_by_role("row", name=re.compile("Ranges"))).to_have_count(0)
    page.get_by_role("link", name="Guards", exact=True).first.click()
    expect(page.locator("main")).to_contain_text("1 list, 1 on.")
    # The allow list: an entry that is none loses nothing that was typed.
    page.fill("#values", "partner.example\nnot a name")
    page.fill("#comment", "Until the contract ends")
    page.fill("#until", "2099-12-31")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("main")).to_contain_text("`not a name` is neither a domain nor an address or network")
    assert page.input_value("#comment") == "Until the contract ends"
    page.fill("#values", "partner.example\n198.51.100.0/24")
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("2 allowed")
    entry = page.get_by_role("row", name=re.compile("partner.example"))
    expect(entry).to_contain_text("Until the contract ends")
    page.fill("#q", "198.51")
    page.get_by_role("button", name="Find", exact=True).click()
    expect(entry).to_have_count(0)
    page.get_by_role("row", name=re.compile("198.51")).get_by_role("checkbox").check()
    page.get_by_role("button", name="Remove the selected").click()
    expect(page.locator("p.said")).to_contain_text("1 taken off the allow list")
    expect(entry).to_be_visible()


def overview_and_search(site: Site) -> None:
    page = site.page
    site.sign_in()
    # The first steps of a new account can be left.
    expect(page.locator(".checklist li")).to_have_count(5)
    page.get_by_role("button", name="Do not show this again").click()
    expect(page.locator(".checklist")).to_have_count(0)
    furnish(site)
    page.reload()
    # What waits for a person leads to where it is done.
    waits = page.locator(".waits")
    expect(waits).to_contain_text("1 publication is held")
    expect(waits).to_contain_text("1 subscription fails")
    expect(waits).to_contain_text("never pulled")
    waits.get_by_role("link", name="publication is held").click()
    expect(page.get_by_role("heading", name="Edge addresses")).to_be_visible()
    page.get_by_role("link", name="iocast").first.click()
    waits.get_by_role("link", name="subscription fails").click()
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.goto("/")
    expect(page.locator("#iocs-heading")).to_contain_text("active IOCs")
    page.get_by_role("link", name="90 days").click()
    expect(page.get_by_role("link", name="90 days")).to_have_attribute("aria-current", "true")
    expect(page.locator("#changes tbody tr")).to_have_count(8)
    # Everything is found from everywhere, by keyboard alone.
    page.locator("h1").click()
    page.keyboard.press("/")
    page.keyboard.type("HOST7[.]example")
    expect(page.get_by_role("option", name="host7.example")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("host7.example")
    for text, kind, heading in [("perim", "IOC groups", "Perimeter"), ("own fe", "Sources", "Own feed"), ("branch", "Devices", "Branch MISP")]:
        page.keyboard.press("Control+k")
        page.keyboard.type(text)
        page.get_by_role("group", name=kind).get_by_role("option", name=heading).first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
    page.goto("/search?q=hxxp://host9[.]example/other")
    expect(page.get_by_role("link", name="host9.example", exact=True)).to_be_visible()
    page.goto("/search?q=nobody-has-this")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    # Out of every list, and back.
    page.goto("/search?q=host59.example")
    page.get_by_role("link", name="host59.example", exact=True).click()
    page.get_by_text("Withdraw everywhere").click()
    page.fill("#why", "It is our own update server")
    page.get_by_role("button", name="Withdraw", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("It is withdrawn from every group")
    expect(page.locator("#withdrawn")).to_contain_text("Withdrawn from 1 device", timeout=30_000)
    expect(page.locator("section", has=page.locator("#history-heading"))).to_contain_text("It is our own update server")
    page.get_by_role("button", name="Undo: send it again").click()
    expect(page.locator("p.said")).to_contain_text("It is sent again")
    expect(page.get_by_text("Withdraw everywhere")).to_be_visible()
    # Errors stand in the frame; a part of the product leads to its first page.
    assert page.goto("/nothing/here").status == 404
    expect(page.get_by_role("link", name="Integrations", exact=True)).to_be_visible()
    page.goto("/settings")
    expect(page).to_have_url(re.compile("/settings/subscription$"))
    # Times are shown as a person likes them.
    page.goto("/automation/integrations")
    page.get_by_label("Times").select_option("utc")
    expect(page.locator("time.when").first).to_contain_text("UTC")
    page.reload()
    expect(page.locator("time.when").first).to_contain_text("UTC")
    # A page that could not refresh says so, and stops saying so.
    expect(page.locator("#stale")).to_be_hidden()
    site.context.set_offline(True)
    expect(page.locator("#stale")).to_contain_text("The server does not answer", timeout=30_000)
    site.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden(timeout=60_000)
    # Signed out elsewhere: the page stays, and says so.
    other = site.context.new_page()
    other.goto("/settings/profile")
    other.get_by_role("button", name="Sign out").first.click()
    expect(page.locator("#stale")).to_contain_text("You are signed out", timeout=30_000)
    expect(page.get_by_role("heading", name="Integrations")).to_be_visible()


def many_devices_at_once(site: Site) -> None:
    page = site.page
    site.sign_in()
    page.goto("/automation/integrations")
    page.get_by_role("link", name="Add from CSV").click()
    page.get_by_role("button", name="Add the devices").click()
    expect(page.locator("main .wrong")).to_contain_text("The first line has to name the columns")
    rows = [f"Branch {n:03},panos-edl,1000,Addresses {n:03}=ip; Domains {n:03}=domain,site: {['lyon', 'berlin'][n % 2]}; branch" for n in range(60)]
    table = "\n".join(["name,device_type,ioc_limit,groups,labels", *rows, "Bad-name,toaster,,,"])
    page.set_input_files("#file", {"name": "devices.csv", "mimeType": "text/csv", "buffer": table.encode()})
    expect(page.locator("#table")).to_have_value(re.compile("Branch 059"))
    page.get_by_role("button", name="Check, add nothing").click()
    expect(page.locator("#result-heading")).to_contain_text("60 of 61 can be added, 1 has a problem".replace("has", "have"))
    expect(page.locator("tr.refused")).to_contain_text("There is no such device type")
    assert site.api("GET", "/devices?limit=1").json()["items"] == [], "nothing was added"
    page.get_by_role("button", name="Add the devices").click()
    expect(page.locator("#result-heading")).to_contain_text("60 of 61 are added")
    key = page.locator("tr", has_text="Branch 000").locator("code.secret").inner_text()
    device = site.api("GET", "/devices?limit=1").json()["items"][0]
    assert device["labels"] == ["branch", "site: lyon"] and [g["limit"] for g in device["groups"]] == [500, 500], device
    url = device["groups"][0]["url"]
    until(lambda: requests.get(url, auth=(site.scene["account_id"], key), timeout=60).ok, "the key opens the group")
    # Given once more, every name is taken.
    page.fill("#table", table)
    page.get_by_role("button", name="Add the devices").click()
    expect(page.locator("#result-heading")).to_contain_text("0 of 61 are added, 61 have a problem")
    # Those of one site, changed together.
    page.goto("/automation/integrations?label=site%3A+lyon")
    expect(page.locator("#devices [role=status]")).to_have_text("30 of 60 devices")
    page.get_by_text("Change several devices").click()
    page.get_by_label("All on this page").check()
    expect(page.locator("[data-chosen]")).to_have_text(": 30 chosen")
    page.get_by_label("Label, limit, or hours").fill("DMZ, tier 2")
    page.get_by_role("button", name="Add label").click()
    expect(page.locator("p.said")).to_contain_text("30 devices are changed")
    page.goto("/automation/integrations?label=tier+2")
    expect(page.locator("#devices [role=status]")).to_have_text("30 of 60 devices")
    for box in page.locator("td.choose input").all()[:2]:
        box.check()
    page.get_by_label("Label, limit, or hours").fill("12")
    page.get_by_role("button", name="Pause (for hours, if given)").click()
    expect(page.locator("p.said")).to_contain_text("2 devices are changed")
    paused = page.locator("tr", has_text="Branch 000")
    expect(paused).to_contain_text("Paused")
    expect(paused).to_contain_text("until")
    site.api("POST", "/emulator/clock", json={"advance": "13h"})
    assert not site.api("GET", f"/devices/{device['id']}").json()["paused"], "the pause ended by itself"
    page.goto("/automation/integrations?label=tier+2")
    page.locator("td.choose input").first.check()
    page.get_by_label("Label, limit, or hours").fill("100")
    page.get_by_role("button", name="Set limit").click()
    expect(page.locator("section.said .trouble")).to_contain_text("Its groups were given 1000 IOCs together")
    page.goto("/automation/integrations?label=tier+2")
    page.locator("td.choose input").first.check()
    page.get_by_role("button", name="New key each").click()
    expect(page.locator("section.said code.secret")).to_have_count(1)
    page.get_by_role("link", name="Integrations", exact=True).click()
    page.get_by_text("Change several devices").click()
    page.get_by_role("button", name="Watch again").click()
    expect(page.locator("main .trouble")).to_be_visible()
    # The table is one stop of the Tab key; the arrow keys move within it.
    page.goto("/automation/integrations")
    expect(page.locator("tbody tr")).to_have_count(60)
    stops = page.evaluate("""[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")]
        .filter((part) => part.tabIndex >= 0 && !part.disabled && part.checkVisibility()).length""")
    assert stops <= 60, f"{stops} stops of the Tab key"
    here = "(() => { const row = document.activeElement.closest('tbody tr'); return row && [row.rowIndex, document.activeElement.textContent]; })()"
    page.locator("tbody td.choose input").first.focus()
    for key, row in [("ArrowDown", 2), ("ArrowRight", 2), ("ArrowDown", 3), ("PageDown", 13), ("ArrowUp", 12), ("End", 12), ("Home", 12)]:
        page.keyboard.press(key)
        assert page.evaluate(here)[0] == row, (key, page.evaluate(here))
    page.keyboard.press("ArrowRight")
    assert page.evaluate(here)[1] == "Branch 011", page.evaluate(here)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Branch 011")).to_be_visible()
    # A heading sorts, and the other way round when it is used again.
    page.goto("/automation/integrations?label=branch")
    page.locator("thead").get_by_role("link", name="Device").click()
    expect(page.locator("thead [aria-sort]")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody th a").first).to_have_text("Branch 059")
    expect(page.locator("#devices [role=status]")).to_have_text("60 of 60 devices")
    # On a phone each device takes two lines.
    page.set_viewport_size({"width": 390, "height": 844})
    tall = page.locator("tbody tr").first.bounding_box()["height"]
    assert tall < 110, f"a device is {tall} px tall"
    page.set_viewport_size({"width": 1280, "height": 800})
    # What is exported can be given again elsewhere.
    exported = site.context.request.get("/automation/integrations.csv").text()
    assert exported.count("\r\n") == 61 and '"Addresses 000=ip; Domains 000=domain"' in exported, exported[:600]


def alerts_and_lists(site: Site) -> None:
    """Alerts are read and closed, their IOCs put on the remediation blocklist; IOCs are counted, sorted and exported; sources are changed together."""
    page = site.page
    site.sign_in()
    page.goto("/tip/alerts")
    expect(page.locator("main")).to_contain_text("No alert yet")
    page.goto("/tip/blocklist")
    expect(page.locator("main")).to_contain_text("No IOC is on it yet")
    site.alert("Credentials for sale", ["login.example", "203.0.113.7"])
    page.goto("/tip/alerts")
    page.get_by_role("link", name="Credentials for sale").click()
    expect(page.get_by_role("row", name=re.compile("203.0.113.7"))).to_contain_text("no")
    page.get_by_role("button", name="Put them on the remediation blocklist").click()
    expect(page.get_by_role("row", name=re.compile("203.0.113.7"))).to_contain_text("on it")
    page.goto("/tip/blocklist")
    expect(page.locator("main tbody tr")).to_have_count(2)
    # One is taken off in the list of IOCs.
    page.get_by_role("row", name=re.compile("login.example")).get_by_role("checkbox").check()
    page.get_by_role("button", name="Take off it").click()
    expect(page.locator("p.said")).to_contain_text("1 IOC is changed")
    expect(page.locator("main tbody tr")).to_have_count(1)
    page.get_by_role("combobox", name="Search everywhere").fill("blocklist")
    expect(page.locator("#hits")).to_contain_text("Remediation blocklist")
    # The alert is rated and closed; the list says so.
    page.goto("/tip/alerts")
    page.get_by_role("link", name="Credentials for sale").click()
    page.get_by_label("Severity").select_option("low")
    page.get_by_role("button", name="Set severity").click()
    page.get_by_label("Reason").select_option("FalsePositive")
    page.get_by_label("In words").fill("Our own test")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("main")).to_contain_text("closed: FalsePositive. Our own test")
    page.goto("/tip/alerts?state=open")
    expect(page.locator("main")).to_contain_text("No alert matches")
    page.goto("/tip/alerts/none-of-these")
    expect(page.locator("main h1")).to_be_visible()
    # A list of IOCs: its total, its order, its export.
    sources = [site.api("POST", "/sources", json={"name": f"Feed {n}", "confidence": 1}).json()["id"] for n in range(3)]
    values = [f"host{n:03}.example" for n in range(120)]
    site.api("POST", f"/sources/{sources[0]}/iocs", json={"iocs": [{"value": value, "user_tags": ["=1+1"]} for value in values]})
    page.goto("/tip/iocs?kind=domain")
    expect(page.locator("#found [role=status]")).to_have_text("121 IOCs")
    page.locator("thead").get_by_role("link", name="Value").click()
    expect(page.locator("tbody th").first).to_have_text("host000.example")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody th").first).to_have_text("host050.example")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    lines = pathlib.Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith('"value","kind","severity"') and len(lines) == 122, lines[:3]
    assert all("203.0.113.7" not in line for line in lines), "the filter holds for the export"
    assert sum("\"'=1+1\"" in line for line in lines) == 120, "no cell is a formula"
    # Sources, several at once.
    page.goto("/tip/sources")
    for name in ("Feed 1", "Feed 2"):
        page.get_by_label(f"Choose {name}").check()
    page.get_by_role("button", name="Switch off", exact=True).click()
    expect(page.locator("p.said")).to_contain_text("2 sources are changed")
    expect(page.get_by_role("row", name=re.compile("Feed 2"))).to_contain_text("off")
    page.get_by_text("Change several sources").click()
    page.get_by_role("button", name="high", exact=True).click()
    expect(page.locator("main .trouble")).to_contain_text("Tick at least one source")


def screenshots(site: Site) -> None:
    """A picture of every page: light and dark, wide and narrow."""
    furnish(site)
    folder = pathlib.Path(site.scene["pictures"])
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, path: str, scheme: str, width: int) -> None:
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path.strip("/")).replace("/", "-").replace("?", "-") or "start"
        page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=True)

    on_every_page(site, (1280, 390), take)
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


def main(story: str) -> None:
    scene = json.load(sys.stdin)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        site = Site(browser, scene)
        try:
            globals()[story](site)
        except BaseException:
            picture = pathlib.Path(scene["pictures"]) / f"{story}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            site.page.screenshot(path=picture, full_page=True)
            print(f"The page at the end: {picture}, {site.page.url}", file=sys.stderr)
            raise
        assert not site.complaints, site.complaints
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
