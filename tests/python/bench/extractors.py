"""What iocast takes from analysts' files beside iocextract, ioc-finder and iocsearcher: recall and precision by truths that none of
them made, and pace. IOCAST_SAMPLES names the folder of samples. IOCAST_TWINS may name a clone of github.com/eset/malware-ioc, or a folder
laid out like it: each README.adoc has the MISP events and lists of hashes of the same report beside it."""

import csv
import glob
import ipaddress
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
from collections import namedtuple

from server import Server

HASHES = {32: "md5", 40: "sha1", 64: "sha256"}
KINDS = {"domain", "ip", "url", "email", *HASHES.values()}
# Words of MISP and of tables that say what a value is; `file` is one or more hashes.
WORDS = {*KINDS, *"hostname domain-name ipaddress ip-src ip-dst email-src email-dst file".split()}
# A file: its bytes, what is right as (kind, value), the kinds that this truth has, what counts neither way, and the form it was sent as.
Case = namedtuple("Case", "name data truth kinds neutral form", defaults=[KINDS, frozenset(), None])


def refanged(text: str) -> str:
    text = re.sub(r"[\[({]\s*([.:@/])\s*[\])}]|\[dot\]|\\(?=\.)", lambda found: found[1] or ("." if "d" in found[0] else ""), text.strip())
    return re.sub(r"^hxxp(s?)(?=\W)", r"http\1", text, flags=re.I)


def kind_of(value: str) -> str:
    if re.fullmatch("[0-9a-fA-F]+", value) and len(value) in HASHES:
        return HASHES[len(value)]
    try:
        ipaddress.ip_network(value.strip("[]"), strict=False)
        return "ip"
    except ValueError:
        return "url" if "/" in value else "email" if "@" in value else "domain"


def canonical(value: str) -> tuple[str, str]:
    """One spelling for all: `host:port` is its host, what has a path is a URL, by http unless it says otherwise."""
    value = refanged(value)
    if "://" not in value and (port := re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s/:@]+):\d{1,5}", value)):
        value = port[1]
    kind = kind_of(value)
    if kind == "ip":
        return kind, str(ipaddress.ip_network(value.strip("[]"), strict=False)).removesuffix("/32").removesuffix("/128")
    if kind != "url":
        value = value.lower().rstrip(".")
        return kind, value if value.isascii() or len(value) > 60 else value.encode("idna").decode()
    scheme, rest = value.split("://", 1) if "://" in value else ("http", value)
    host, begin, path = re.fullmatch(r"([^/?#]*)([/?]?)([^#]*).*", rest, re.S).groups()
    host = re.sub({"http": ":80$", "https": ":443$", "ftp": ":21$"}.get(scheme.lower(), "$^"), "", host.lower().rpartition("@")[2])
    return kind, f"{scheme.lower()}://{host.rstrip('.')}{begin + urllib.parse.unquote(path) if begin + path != '/' else ''}"


def all_of(values) -> set:
    return {canonical(value) for value in values}


def decoded(data: bytes) -> str:
    return data.decode("utf-16") if data[:2] == b"\xff\xfe" else data.decode("utf-8-sig", "replace")


def real(text: str) -> str:
    """Cases stand on reserved names and addresses, which some tools leave out by intent: these become ones that could be real."""
    for begin, was, end, now in [("203", "0", "113", "5"), ("198", "51", "100", "61"), ("192", "0", "2", "7")]:
        text = re.sub(rf"(?<!\d){begin}(\D{{1,7}}?){was}(\D{{1,7}}?){end}(?!\d)", rf"{begin}\g<1>{now}\g<2>{end}", text)
    return text.replace("example", "exposed").replace("2001:db8", "2001:470")


def cases(samples: str, sent_as: str) -> list[Case]:
    found = []
    for path in sorted(glob.glob(f"{samples}/intake-cases/*.expected.md")):
        said, name = real(open(path).read()), path.removesuffix(".expected.md")
        # The tools are given text: pages are not for them.
        if f"Sent as: `{sent_as}" not in said or "Taken, exactly these" not in said or name.endswith(".html"):
            continue
        listed = re.search(r"Taken, exactly these.*\n\n?((?:- `.*`\n)*)", said)[1]
        good = all_of(value for also in re.findall(r"Good to have as well: (.*)\.\n", said) for value in also.split(", "))
        data = open(name, "rb").read()
        data = real(decoded(data)).encode("utf-16" if data[:2] == b"\xff\xfe" else "utf-8")
        found.append(Case(name, data, all_of(re.findall("`(.*)`", listed)), KINDS, good, "report" if "report" in sent_as else None))
    return found


def of_event(path: str) -> set:
    """The indicators of a MISP event."""
    try:
        file = json.load(open(path))
        event = file.get("response", [file])[0]["Event"]
    except (ValueError, LookupError, AttributeError):
        return set()
    attributes = [a for part in [event, *event.get("Object", [])] for a in part.get("Attribute", []) if a.get("category") != "External analysis"]
    return all_of(value for a in attributes for word, value in zip(a["type"].split("|"), a["value"].split("|")) if word in WORDS)


def twin(path: str, beside: str) -> Case:
    """A report with what its authors published of it for machines; what does not stand in its text cannot be asked for."""
    data, truth = open(path, "rb").read(), set()
    for other in glob.glob(beside):
        if other.endswith(".json"):
            truth |= of_event(other)
        elif os.path.basename(other).startswith("samples."):
            truth |= all_of(line for line in open(other) if kind_of(line.strip()) in HASHES.values())
    text = re.sub(r"[`\[\](){}\\]", "", refanged(decoded(data).lower()).replace("hxxp", "http"))

    def stands(kind: str, value: str) -> bool:
        rest = value.lower().split("://")[-1]
        before, after = ("" if "/" in rest else "://", r"(?![\w/?=&-]|\.\w)") if kind == "url" else (r"(?<![\w.@/-])", r"(?![\w/@-]|\.\w)")
        return bool(re.search(before + re.escape(rest) + after, text))

    held = {(kind, value) for kind, value in truth if stands(kind, value)}
    return Case(path, data, held, {kind for kind, _ in held})


def tables(samples: str) -> list[Case]:
    """Tables with a column of kinds, which say what is right; what is cut off, no whole hash, or a host called a URL counts neither way."""
    found = []
    for path in sorted([*glob.glob(f"{samples}/intake-files/*/*.csv"), *glob.glob(f"{samples}/intake-files/*/*.intel")]):
        data, zeek = open(path, "rb").read(), path.endswith(".intel")
        reader = csv.DictReader(decoded(data).removeprefix("#fields\t").splitlines(), skipinitialspace=True, delimiter="\t" if zeek else ",")
        rows = [{(k or "").lower(): v for k, v in row.items()} for row in reader]
        column = lambda names: next((name for name in names.split() if rows and name in rows[0]), None)
        kind, value = column("entity_type observable_types indicator_type type"), column("value ioc indicator name")
        cells = [(row[kind].lower(), row[value]) for row in rows] if kind and value else []
        said = [(word, v) for word, cell in cells for v in re.split(r"[,;\s]+" if word == "file" else r"\n", cell) if v]
        is_of = lambda word, v: kind_of(v) in HASHES.values() if word == "file" else "/" in v if "url" in word else zeek or word in WORDS
        known = {(word, v) for word, v in said if is_of(word, v) and not re.search(r"\s|…$", v)}
        unsure = all_of(form for word, v in {*said} - known for form in [v, f"http://{v}", v.rstrip("…")])
        found.append(Case(path, data, all_of(v for _, v in known), KINDS, unsure))
    return [case for case in found if case.truth]


def lists(samples: str) -> list[Case]:
    """Maltrail's trails and ipsum: the first word of each line that is no remark; parts of URLs and patterns count neither way."""
    found = []
    for path in sorted([*glob.glob(f"{samples}/malware-trails/*.txt"), *glob.glob(f"{samples}/intake-files/ipsum/*.txt")]):
        data = open(path, "rb").read()
        words = {line.split("#")[0].split()[0] for line in decoded(data).splitlines() if line.split("#")[0].strip()}
        good = {word for word in words if re.match(r"(https?://)?(\[[0-9a-f:]+\]|[\w-]+(\.[\w-]+)+)(:\d+)?(/|$)", word, re.I)}
        found.append(Case(path, data, all_of(good), KINDS, all_of(words - good)))
    return found


def of_tools() -> dict:
    """The Python tools by their documented entry points: from a text, what they take."""
    import ioc_finder
    import iocextract
    from iocsearcher.searcher import Searcher

    searcher, wanted = Searcher(), {"url", "fqdn", "ip4", "ip6", "ip4Net", "email", *HASHES.values()}
    names = ["urls", "email_addresses", "domains", "ipv4s", "ipv6s", "ipv4_cidrs", "ipv6_cidrs", *(f"{name}s" for name in HASHES.values())]

    def extracted(text: str) -> set:
        """It has no domains: what is defanged and has neither scheme nor path comes as a URL, and counts as the host that it is. It is
        given pieces of 4 KB, cut at the ends of lines, as its time grows with the square of the text."""
        found, piece = [], ""
        for line in [*text.splitlines(True), None]:
            piece += line or ""
            if line is None or len(piece) >= 4096:
                raw, urls = (iocextract.extract_unencoded_urls(piece, refang=refang) for refang in (False, True))
                found += [url if re.search("://|__|/", was) else url.split("://")[-1] for was, url in zip(raw, urls)]
                for by in [iocextract.extract_encoded_urls, iocextract.extract_ips, iocextract.extract_emails]:
                    found += by(piece, refang=True)
                found, piece = [*found, *iocextract.extract_hashes(piece)], ""
        return all_of(found)

    finder = lambda text: all_of(value for name, values in ioc_finder.find_iocs(text).items() if name in names for value in values)
    searched = lambda text: all_of(ioc.value for ioc in searcher.search_data(text, targets=wanted))
    return {"iocextract": extracted, "ioc-finder": finder, "iocsearcher": searched}


def imported(server: Server, cases: list[Case], *more: str) -> dict[str, set]:
    """What comes of each file, imported by a command into a source of its own."""
    sources, found = {case.name: f"{more} {n}" for n, case in enumerate(cases)}, {case.name: set() for case in cases}
    for case in cases:
        path = os.path.join(server.folder.name, "file") + os.path.splitext(case.name)[1]
        open(path, "wb").write(case.data)
        form = ["--as", case.form] if case.form else []
        subprocess.run([server.binary, "import", "--data", server.folder.name, "--source", sources[case.name], path, *form, *more], capture_output=True)
    server.start()
    ids = {source["name"]: source["id"] for source in server.call("GET", "/api/v1/sources")["items"]}
    for name, source in sources.items():
        page = {"next_cursor": "" if source in ids else None}
        while (cursor := page.get("next_cursor")) is not None:
            page = server.call("GET", f"/api/v1/iocs?source_id={ids[source]}&limit=1000{cursor and '&cursor=' + urllib.parse.quote(cursor)}")
            found[name] |= all_of(ioc["value"] for ioc in page["items"])
    server.end()
    return found


def score(cases: list[Case], found: dict[str, set]) -> str:
    """Recall and precision; and the latter where hosts of true URLs and addresses count neither way."""
    right = taken = hosts = truth = 0
    for case in cases:
        values = {v for v in found[case.name] if v[0] in case.kinds} - (case.neutral - case.truth)
        of = all_of(re.split("://|@", value, maxsplit=1)[-1].split("/")[0] for kind, value in case.truth if kind in ("url", "email")) - case.truth
        right, taken, truth, hosts = right + len(values & case.truth), taken + len(values), truth + len(case.truth), hosts + len(values & of)
    share = lambda part, whole: f"{100 * part / max(whole, 1):.1f}"
    return f"{share(right, truth)} / {share(right, taken)} ({share(right, taken - hosts)})"


def all_sets() -> tuple[dict[str, list[Case]], dict[str, list[Case]]]:
    """Those of prose, and those of lists and tables."""
    samples, more = os.environ.get("IOCAST_SAMPLES") or sys.exit("IOCAST_SAMPLES names no folder of samples"), os.environ.get("IOCAST_TWINS")
    reports = [twin(path, f"{samples}/misp-events/{os.path.basename(path).split('.')[0]}__*") for path in sorted(glob.glob(f"{samples}/reports/*"))]
    twins = [twin(path, f"{os.path.dirname(path)}/*") for path in sorted(glob.glob(f"{more}/**/README.adoc", recursive=True))] if more else []
    only = lambda cases, kinds: [c._replace(truth=truth, kinds=c.kinds & kinds) for c in cases if (truth := {t for t in c.truth if t[0] in kinds})]
    prose = {"cases of prose": cases(samples, "text/vnd.iocast.report"), "reports, by their MISP events": only(reports, KINDS)}
    for name, kinds in [("hosts, URLs, addresses", KINDS - {*HASHES.values()}), ("hashes", {*HASHES.values()})] if twins else []:
        prose[f"more reports: {name}"] = only(twins, kinds)
    listed = {"cases of lists": cases(samples, "text/plain"), "cases of tables": cases(samples, "text/csv")}
    return prose, listed | {"tables, by their columns": tables(samples), "lists, by their lines": lists(samples)}


def figures(binary: str) -> None:
    """Prints them, in per cent, over the distinct values of each file; and MB a second by the clock and by processor time."""
    (prose, listed), server, found, pace = all_sets(), Server(binary), {}, {}
    files = {case.name: case for of in [*listed.values(), *prose.values()] for case in of}
    texts = {name: decoded(case.data) for name, case in files.items()}

    def timed(name: str, run) -> None:
        begun, used, size = time.perf_counter(), sum(os.times()[:4]), sum(len(text.encode()) for text in texts.values()) / 1e6
        found[name] = run()
        pace[name] = f"{size / (time.perf_counter() - begun):.3g} ({size / (sum(os.times()[:4]) - used):.3g})"

    server.end()
    dry = [binary, "import", "--data", server.folder.name, "--source", "Dry", "--dry-run", *files]
    timed("iocast", lambda: subprocess.run(dry, capture_output=True))
    found["iocast"] = imported(server, list(files.values()))
    found["iocast, live links"] = imported(server, [*{case.name: case for of in prose.values() for case in of}.values()], "--live-links")
    for name, run in of_tools().items():
        timed(name, lambda: {file: run(text) for file, text in texts.items()})
    server.folder.cleanup()
    print(f"Recall / precision (precision without hosts of true URLs)\n\n| set | files | truth | {' | '.join(found)} |\n|{'---|' * (3 + len(found))}")
    for name, of in {**prose, **listed}.items():
        cells = [score(of, values) if name in prose or "live" not in who else "" for who, values in found.items()]
        print(f"| {name} | {len(of)} | {sum(len(case.truth) for case in of):,} | {' | '.join(cells)} |")
    print(f"| MB/s by the clock (by processor time) | | | {' | '.join(pace.get(who, '') for who in found)} |")
