"""A static MISP feed, written by PyMISP as its feed generator writes one.

usage: misp_feed.py FOLDER, with one JSON list on standard input:
[{"uuid", "info", "date", "timestamp", "tags": [...], "attributes": [[TYPE, VALUE], ...]}, ...]
"""

import json
import sys
from pathlib import Path

from pymisp import MISPEvent

folder = Path(sys.argv[1])
manifest = {}
for said in json.load(sys.stdin):
    event = MISPEvent()
    event.from_dict(
        uuid=said["uuid"],
        info=said["info"],
        date=said["date"],
        timestamp=said["timestamp"],
        published=True,
        threat_level_id=1,
        analysis=2,
        distribution=3,
        Orgc={"name": "Analysts", "uuid": "5f0b5c4e-0000-4000-8000-00000000000a"},
        Tag=[{"name": name} for name in said["tags"]],
    )
    for kind, value in said["attributes"]:
        event.add_attribute(kind, value, to_ids=True)
    manifest.update(event.manifest)
    (folder / f"{event.uuid}.json").write_text(json.dumps(event.to_feed()))
(folder / "manifest.json").write_text(json.dumps(manifest))
