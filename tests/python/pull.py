"""Pulls a feed as real clients do, and says what it got as one line of JSON.

usage: pull.py URL USER PASSWORD

PyMISP loads the manifest's every event and makes its own manifest and hashes.csv of them, which must match what was
served. misp-feed-manager, a feed consumer of its own, pulls the same over Basic auth in the URL.
"""

import contextlib
import datetime
import json
import pathlib
import sys
import tempfile
import urllib.parse

import requests
from feed_manager import consumer, storage
from pymisp import MISPEvent
from pymisp.tools import feed_meta_generator


def main(url: str, user: str, password: str) -> dict:
    session = requests.Session()
    session.auth = (user, password)
    session.headers["User-Agent"] = "PyMISP story"

    def get(name: str) -> requests.Response:
        answer = session.get(f"{url}/{name}", timeout=60)
        answer.raise_for_status()
        return answer

    manifest = get("manifest.json").json()
    problems: list[str] = []
    values = 0
    with tempfile.TemporaryDirectory() as folder:
        for uuid, entry in manifest.items():
            text = get(f"{uuid}.json").text
            event = MISPEvent()
            event.load(json.loads(text))
            values += sum(1 for attribute in event.attributes if not getattr(attribute, "deleted", False))
            if event.uuid != uuid or int(event.timestamp.timestamp()) != entry["timestamp"] or event.info != entry["info"]:
                problems.append(f"{uuid}: manifest and event differ")
            # PyMISP hashes deleted attributes, too; a feed lists live ones.
            file = json.loads(text)
            file["Event"]["Attribute"] = [a for a in file["Event"]["Attribute"] if not a.get("deleted")]
            (pathlib.Path(folder) / f"{uuid}.json").write_text(json.dumps(file))
        feed_meta_generator(pathlib.Path(folder))
        theirs = set((pathlib.Path(folder) / "hashes.csv").read_text().split())
        made = json.loads((pathlib.Path(folder) / "manifest.json").read_text())
    ours = set(get("hashes.csv").text.split())
    if theirs - ours:
        problems.append(f"{len(theirs - ours)} hashes are missing")
    for uuid, entry in made.items():
        for key in ("info", "date", "timestamp", "analysis", "threat_level_id"):
            if str(entry[key]) != str(manifest[uuid][key]):
                problems.append(f"{uuid}: {key} is {manifest[uuid][key]}, PyMISP makes {entry[key]}")

    scheme, rest = url.split("://", 1)
    with_user = f"{scheme}://{urllib.parse.quote(user)}:{urllib.parse.quote(password)}@{rest}"
    feed = consumer.FeedConsumer(storage.get_storage_layer(with_user))
    since = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    # It prints as it goes; only our line goes to standard output.
    with contextlib.redirect_stdout(sys.stderr):
        consumed = len(list(feed.get_items_since(since)))
    return {"events": len(manifest), "values": values, "hashes": len(ours), "consumed": consumed, "problems": problems[:10]}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4])))
