"""Walks a TAXII collection with taxii2-client, and has the OASIS libraries judge what it finds.

Arguments: version (2.0 or 2.1), discovery URL, account ID, key, collection id, objects a page, `judge` or `count`.
With a last argument `pause` it waits after each page until a line comes in. Prints one JSON object.
"""

import json
import sys
from collections import Counter

import stix2
import taxii2client.v20
import taxii2client.v21
from cytaxii2 import cytaxii2
from stix2patterns.validator import validate as pattern_is_valid
from stix2validator import ValidationOptions, validate_instance


def main() -> None:
    version, discovery, account, key, wanted, per_page, judge, *pause = sys.argv[1:]
    client = taxii2client.v20 if version == "2.0" else taxii2client.v21
    server = client.Server(discovery, user=account, password=key)
    root = server.default
    collection = next(c for c in root.collections if c.id == wanted)
    problems: list[str] = []
    seen: Counter[tuple[str, str]] = Counter()
    types: Counter[str] = Counter()
    live: set[str] = set()
    revoked: set[str] = set()
    ids: set[str] = set()
    references: set[str] = set()
    pages = 0
    for page in client.as_pages(collection.get_objects, per_request=int(per_page)):
        objects = page.get("objects", [])
        pages += 1
        if len(objects) > int(per_page):
            problems.append(f"a page of {len(objects)}")
        for found in objects:
            seen[(found["id"], found.get("modified", found.get("created")))] += 1
            types[found["type"]] += 1
            ids.add(found["id"])
            references.update(value for name, value in found.items() if name.endswith("_ref"))
            references.update(found.get("object_marking_refs", []))
            if found["type"] == "indicator":
                (revoked if found.get("revoked") else live).add(found["name"])
                if found["valid_until"] <= found["valid_from"]:
                    problems.append(f"valid until before from: {found['id']}")
            if judge == "judge":
                problems.extend(faults(found, version))
        if pause:
            print("page", flush=True)
            sys.stdin.readline()
    if version == "2.1" and not pause:
        theirs = as_cyware(discovery, account, key, wanted, int(per_page))
        if theirs != ids:
            problems.append(f"cytaxii2 finds {len(theirs)} of {len(ids)} objects")
    manifest = [entry for page in client.as_pages(collection.get_manifest, per_request=int(per_page)) for entry in page.get("objects", [])]
    print(
        json.dumps(
            {
                "title": collection.title,
                "pages": pages,
                "objects": sum(seen.values()),
                "twice": [identity for identity, n in seen.items() if n > 1],
                "types": dict(types),
                "live": sorted(live) if judge == "judge" else len(live),
                "revoked": sorted(revoked) if judge == "judge" else len(revoked),
                "dangling": sorted(references - ids),
                "manifest": len({entry["id"] for entry in manifest}),
                "problems": problems[:20],
            }
        )
    )


def as_cyware(discovery: str, account: str, key: str, collection: str, per_page: int) -> set[str]:
    """The ids of all objects, as Cyware's client walks the pages."""
    client = cytaxii2.cytaxii2(discovery, account, key, version=2.1)
    ids: set[str] = set()
    following = None
    while True:
        answer = client.poll_request(collection, limit=per_page, next=following)
        assert answer["status"], answer
        page = answer["response"]
        ids.update(found["id"] for found in page.get("objects", []))
        following = page.get("next")
        if not page.get("more"):
            return ids


def faults(found: dict, version: str) -> list[str]:
    """What the validator, the pattern grammar and the STIX library have to say against an object."""
    problems = []
    # Recommendations that are not followed: ids are made from what they stand for (103), and labels carry the
    # tags that people set, as Sentinel shows them (214 of indicators, 216 of malware, 219 of threat actors).
    options = ValidationOptions(version=version, strict=True, disabled=["103", "214", "216", "219"])
    result = validate_instance(found, options)
    problems.extend(f"{found['id']}: {error}" for error in result.errors)
    try:
        stix2.parse(found, version=version, allow_custom=version == "2.0")
    except Exception as error:  # noqa: BLE001: whatever it says is the finding
        problems.append(f"{found['id']}: {error}")
    if found["type"] == "indicator" and not pattern_is_valid(found["pattern"], stix_version=version):
        problems.append(f"{found['id']}: {found['pattern']}")
    return problems


main()
