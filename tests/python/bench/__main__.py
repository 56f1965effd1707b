"""iocast beside its peers on this machine, as one table of ratios. Both do the same work in turn, in the same run; a ratio is
that of a round, and what is shown is the median of the rounds with the least and the greatest.

usage: bench PATH_TO_IOCAST [--quick] [lists | extractors | ROW…]
"""

import argparse
import base64
import json
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse

import extractors
import feeds as fetching
import lists as list_figures
from peers import Medallion, Nginx, OpenTaxii, RawSqlite, pymisp_feed, rotating, wrk
import growth as growing
import noisy
import receipts as noting
import soak as soaking
from server import Server, add_devices, copies, domains, iocs, row_of


class Table:
    """Prints rows as they are known."""

    def __init__(self, quick: bool, before: str | None = None):
        self.before = before
        self.rounds, self.seconds, self.quick = (2, 1, True) if quick else (5, 3, False)
        print(f"{os.cpu_count()} cores, shared by server, peer and client; {self.rounds} rounds\n")
        print("| work | iocast | peer | ratio (least to greatest) | reach |\n|---|---|---|---|---|", flush=True)

    def row(self, what: str, ours: str, peer: str, ratio: str, reach: str) -> None:
        print(f"| {what} | {ours} | {peer} | {ratio} | {reach} |", flush=True)

    def paired(self, what: str, reach: str, ours, peer, unit: str, faster_is: str, rounds: int | None = None) -> None:
        """`ours` and `peer` are measured in turn: a rate (greater is better) or a time."""
        pairs = []
        for n in range(rounds or self.rounds):
            # Who is first has the warmer machine, or the colder one: in turn.
            pairs.append((ours(), peer()) if n % 2 == 0 else tuple(reversed((peer(), ours()))))
        ratio = [a / b if faster_is == "more" else b / a for a, b in pairs]
        show = lambda values: f"{statistics.median(values):,.{0 if unit == '/s' else 3}f}{unit}"
        spread = f"{statistics.median(ratio):,.2f} ({min(ratio):,.2f} to {max(ratio):,.2f})"
        self.row(what, show([a for a, _ in pairs]), show([b for _, b in pairs]), spread, reach)


def polls(table: Table, binary: str) -> None:
    """304 and 200 against nginx with the very same bytes."""
    server = Server(binary)
    source = server.source()
    misp, misp_id = server.group("misp")
    plain, plain_id = server.group("plain-list", limit=60_000)
    server.load(source, iocs(2_000))
    server.wait_published(misp_id, 2_000)
    server.load(source, domains(48_000, 10_000))
    # Both take everything.
    server.wait_published(plain_id, 50_000)
    server.wait_published(misp_id, 50_000)
    gz = {"Accept-Encoding": "gzip"}
    list_body = server.wait_served(plain, "", lambda body: body.count(b"\n") >= 50_000)[1]
    manifest, body = server.wait_served(misp, "manifest.json", lambda body: len(json.loads(body)) == 25)
    # The first part is the full one.
    event = max(json.loads(server.feed(misp, "manifest.json")[1]), key=lambda e: len(server.feed(misp, f"{e}.json", gz)[1]))
    files = {"manifest.json": body, "event.json": server.feed(misp, f"{event}.json", gz)[1], "list.txt": list_body}
    nginx = Nginx(files, [(server.account, server.key)])
    own, theirs = {"Authorization": server.basic()}, {"Authorization": nginx.basic()}
    table.paired(
        "304 poll, Basic, one device, against nginx with one {SHA} credential",
        "≥ 1.0",
        lambda: wrk(f"{server.at(misp)}/manifest.json", {**own, "If-None-Match": manifest.getheader("ETag")}, table.seconds),
        lambda: wrk(nginx.url("manifest.json"), {**theirs, "If-None-Match": nginx.etag("manifest.json")}, table.seconds),
        "/s",
        "more",
    )
    for what, reach, name, ours in [
        ("200 of a gzipped MISP event of 2,000 attributes, against nginx gzip_static", "≥ 1.1", "event.json", f"{server.at(misp)}/{event}.json"),
        ("200 of a gzipped list of 50,000, against nginx gzip_static", "≥ 2", "list.txt", server.at(plain)),
    ]:
        table.paired(
            f"{what} ({len(files[name]):,} bytes)",
            reach,
            lambda: wrk(ours, {**own, **gz}, table.seconds),
            lambda: wrk(nginx.url(name), {**theirs, **gz}, table.seconds),
            "/s",
            "more",
        )
    nginx.stop()
    server.stop()


def fleet(binary: str, devices: int) -> tuple[Server, str, list[str], str, bytes]:
    """A server with a MISP group of 2,000 and so many devices: the group's URL, the keys, the manifest's ETag and gzip form."""
    server = Server(binary)
    misp, group = server.group("misp")
    server.load(server.source(), iocs(2_000))
    server.wait_published(group, 2_000)
    server.end()
    keys = add_devices(server, devices)
    server.start()
    answer, body = server.feed(misp, "manifest.json", {"Accept-Encoding": "gzip"})
    return server, misp, keys, answer.getheader("ETag"), body


def many_devices(table: Table, binary: str) -> None:
    """304 with very many keys, against nginx with that password file and against few keys; memory when idle."""
    count = 10_000 if table.quick else 100_000
    fleets = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (1_000, count):
            server, misp, keys, etag, body = fleet(binary, size)
            chosen = [(server.account, keys[i * 7919 % size]) for i in range(min(2_000, size))]
            os.makedirs(f"{folder}/{size}")
            fleets.append((server, misp, rotating(f"{folder}/{size}", chosen, etag)))
            everybody = [(f"{server.account}{i}", key) for i, key in enumerate(keys)]
        (few, few_url, few_script), (many, url, script) = fleets
        nginx = Nginx({"manifest.json": body}, everybody)
        chosen = [everybody[i * 7919 % count] for i in range(2_000)]
        os.makedirs(f"{folder}/nginx")
        theirs = rotating(f"{folder}/nginx", chosen, nginx.etag("manifest.json"))
        ours = lambda: wrk(f"{many.at(url)}/manifest.json", {}, table.seconds, script)
        what = f"304 poll, {count:,} devices, each with its own key"
        table.paired(f"{what}, against nginx with that password file", "≥ 200", ours, lambda: wrk(nginx.url("manifest.json"), {}, table.seconds, theirs), "/s", "more")
        few_rate = lambda: wrk(f"{few.at(few_url)}/manifest.json", {}, table.seconds, few_script)
        table.paired(f"{what}, against iocast with 1,000", "≥ 0.9", ours, few_rate, "/s", "more")
        nginx.stop()
        few.stop()
        many.end()
        many.start()
        time.sleep(3)
        table.row(f"memory: idle with {count:,} devices", f"{many.memory('VmRSS'):.0f} MiB (peak {many.peak_mib():.0f})", "", "", "≤ 120 MB")
        many.stop()


def imports(table: Table, binary: str) -> None:
    """Parse to commit, against the same rows put into an empty table by prepared statements."""
    for count, reach in [(50_000, "≥ 0.5")] if table.quick else [(50_000, "≥ 0.5"), (1_000_000, "≥ 0.4")]:
        body = iocs(count)
        raw = []

        def ours() -> float:
            server = Server(binary)
            took = server.load(server.source(), body)
            if not raw:
                server.end()
                raw.append(RawSqlite(server.database, "iocs"))
                server.folder.cleanup()
            else:
                server.stop()
            return took

        # Once before the rounds: the rows that the peer inserts are taken from it.
        ours()
        rounds = None if count == 50_000 else 1
        table.paired(f"import of {count:,} IOCs with full enrichment, parse to commit, against raw SQLite inserts of the same rows", reach, ours, raw[0].run, " s", "less", rounds)
    if not table.quick:
        server = Server(binary)
        source = server.source()
        body = iocs(500_000)
        server.load(source, body)
        table.row("memory: importing 500,000 IOCs (peak)", f"{server.peak_mib():.0f} MiB", "", "", "≤ 300 MB")
        server.stop()
        server = Server(binary)
        source = server.source()
        body = domains(500_000)
        server.load(source, body)
        server.reset_peak()
        begun = time.perf_counter()
        _, group = server.group("splunk-es", kind="domain", limit=500_000)
        server.wait_published(group, 500_000)
        table.row("memory: publishing 500,000 rows (peak)", f"{server.peak_mib():.0f} MiB, {time.perf_counter() - begun:.1f} s", "", "", "≤ 500 MB")
        server.stop()


def publishing(table: Table, binary: str) -> None:
    """First publication of 50,000 against PyMISP's generator; ten more against the first."""
    server = Server(binary)
    source = server.source()
    server.load(source, iocs(49_900))
    firsts = []

    def first() -> float:
        # The one before goes: it would be published again with each import.
        for device in server.call("GET", "/api/v1/devices")["items"]:
            server.call("DELETE", f"/api/v1/devices/{device['id']}")
        begun = time.perf_counter()
        made = server.group("misp")
        firsts.append(made)
        server.wait_published(made[1], 49_900)
        took.append(time.perf_counter() - begun)
        return took[-1]

    took = []
    first()
    url = firsts[0][0]
    events = [json.loads(server.feed(url, f"{event}.json")[1]) for event in json.loads(server.feed(url, "manifest.json")[1])]
    rounds = 2 if table.quick else 5
    table.paired("first publication of a group of 49,900 as MISP feed, against PyMISP's generator", "≥ 15", first, lambda: pymisp_feed(events), " s", "less", rounds)
    times, first_took = [], statistics.median(took)
    for n in range(rounds * 2):
        begun = time.perf_counter()
        server.load(source, iocs(10, 49_900 + n * 10))
        server.wait_published(firsts[-1][1], 49_900 + (n + 1) * 10)
        times.append(time.perf_counter() - begun)
    share = [t / first_took for t in times]
    spread = f"{100 * statistics.median(share):.1f} % ({100 * min(share):.1f} to {100 * max(share):.1f})"
    table.row("+10 IOCs on that group, import to published, against its first publication", f"{statistics.median(times):.3f} s", f"{first_took:.3f} s", spread, "≤ 5 %")
    server.stop()


def taxii(table: Table, binary: str) -> None:
    """A page of 1,000 objects."""
    server = Server(binary)
    source = server.source()
    url, group = server.group("taxii", limit=40_000)
    server.load(source, domains(1_500))
    server.wait_published(group, 1_500)
    headers = {"Authorization": server.basic(), "Accept": "application/taxii+json;version=2.1"}
    root = json.loads(server.raw("GET", "/taxii2/", None, headers)[1])["api_roots"][0]
    path = f"{urllib.parse.urlparse(root).path}collections/{group}/objects/?limit=1000"

    def ours() -> float:
        begun = time.perf_counter()
        count = len(json.loads(server.raw("GET", path, None, headers)[1])["objects"])
        assert count == 1000, count
        return time.perf_counter() - begun

    # Medallion stumbles over markings without a date of change, and over versions that are none of its dates.
    page = json.loads(server.raw("GET", path.replace("limit=1000", "limit=1100"), None, headers)[1])["objects"]
    objects = [o for o in page if o["type"] == "indicator"][:1000]
    for name, kind in [("medallion", Medallion), ("OpenTAXII", OpenTaxii)]:
        peer = kind(objects)
        table.paired(f"TAXII page of 1,000 objects, read by the same client, against {name}", "≥ 50", ours, peer.page, " s", "less")
        peer.stop()
    server.stop()


def many_groups(table: Table, binary: str) -> None:
    """A million IOCs and a thousand groups: the start, and an import that touches every group."""
    groups, total = (100, 100_000) if table.quick else (1_000, 1_000_000)
    server = Server(binary)
    source = server.source()
    url, group = server.group("plain-list", limit=200, default_rule=False)
    rule = server.call("POST", "/api/v1/rules", {"name": "g0", "criteria": {"tags": ["g0"]}, "group_ids": [group]})
    for begin in range(0, total, 250_000):
        server.load(source, iocs(min(250_000, total - begin), begin))
    time.sleep(1)
    server.end()
    database = sqlite3.connect(server.database)
    seq = database.execute("SELECT change_seq FROM accounts").fetchone()[0]
    device = row_of(database, "devices", "1")
    kind = lambda i: bytes.fromhex(f"{i:032x}") if isinstance(device["id"], bytes) else f"00000000-0000-0000-0000-{i:012x}"
    row, publication = row_of(database, "ioc_groups", "1"), row_of(database, "publications", "1 ORDER BY number DESC")
    database.execute("DELETE FROM members")
    rule_row = row_of(database, "rules", "name = 'g0'")
    numbers = range(1, groups)
    # Groups that have applied everything so far and serve an empty list: what is to be measured is what comes now.
    empty = {"applied_seq": seq, "live": 0, "cut": "{}"}
    copies(database, "devices", device, ({"id": kind(i), "name": f"Many {i}", "folded": f"many {i}"} for i in numbers))
    copies(database, "ioc_groups", row, ({**empty, "id": kind(i), "device_id": kind(i), "name": f"g{i}", "folded": f"g{i}"} for i in numbers))
    copies(database, "publications", publication, ({"group_id": kind(i)} for i in numbers))
    for blob in [row_of(database, "blobs", "rowid = ?", (r,)) for (r,) in database.execute("SELECT rowid FROM blobs").fetchall()]:
        copies(database, "blobs", blob, ({"group_id": kind(i)} for i in numbers))
    criteria = lambda i: rule_row["criteria"].replace('"g0"', f'"g{i}"')
    copies(database, "rules", rule_row, ({"id": kind(i), "name": f"g{i}", "folded": f"g{i}", "criteria": criteria(i)} for i in numbers))
    copies(database, "rule_groups", row_of(database, "rule_groups", "rule_id = ?", (rule_row["id"],)), ({"rule_id": kind(i), "group_id": kind(i)} for i in numbers))
    database.commit()
    database.close()
    starts = []
    for _ in range(table.rounds):
        begun = time.perf_counter()
        server.start()
        server.feed(url, "")
        starts.append(time.perf_counter() - begun)
        server.end()
    table.row(f"start with {total:,} IOCs and {groups:,} groups to the first answered poll", f"{statistics.median(starts):.2f} s ({min(starts):.2f} to {max(starts):.2f})", "", "", "≤ 1 s")
    server.start()
    path, headers = urllib.parse.urlparse(url).path, {"Authorization": server.basic(), "If-None-Match": "*"}
    idle, busy, stop = [], [], threading.Event()

    def poll(into: list, until) -> None:
        while not until():
            begun = time.perf_counter()
            server.raw("GET", path, None, headers)
            into.append(time.perf_counter() - begun)
            time.sleep(0.005)

    end = time.perf_counter() + 3
    poll(idle, lambda: time.perf_counter() > end)
    poller = threading.Thread(target=poll, args=(busy, stop.is_set))
    poller.start()
    listed = lambda: sum(g["published"] for g in all_groups(server))
    before = listed()
    begun = time.perf_counter()
    server.load(source, iocs(groups, total))
    while listed() < before + groups:
        time.sleep(0.2)
    took = time.perf_counter() - begun
    stop.set()
    poller.join()
    slower = statistics.median(busy) / statistics.median(idle)
    table.row(f"{groups:,} groups, {total:,} IOCs, an import of {groups:,} that touches each group: all republished", f"{took:.1f} s", "", "", "≤ 60 s")
    table.row("304 polls at the same time, against their idle median", f"{1000 * statistics.median(busy):.2f} ms", f"{1000 * statistics.median(idle):.2f} ms", f"{slower:.2f}", "≤ 2")
    server.stop()


def all_groups(server: Server) -> list[dict]:
    found, after = [], ""
    while True:
        page = server.call("GET", f"/api/v1/devices?limit=1000{after}")
        found += [g for d in page["items"] for g in d["groups"]]
        if not page.get("next"):
            return found
        after = f"&after={page['next']}"


def a_million(table: Table, binary: str) -> None:
    """A million devices that poll every five minutes: 3,333 polls a second at one replica, for a minute."""
    devices, seconds = (100_000, 5) if table.quick else (1_000_000, 60)
    server, misp, keys, etag, _ = fleet(binary, devices)
    path = f"{urllib.parse.urlparse(misp).path}/manifest.json"
    times, late, begun, cpu = [], [], time.perf_counter(), server.cpu()

    def line(n: int, lines: int, a_second: int) -> None:
        connection = socket.create_connection(("127.0.0.1", server.port))
        for i in range(a_second * seconds):
            due = begun + i / a_second
            now = time.perf_counter()
            if due > now:
                time.sleep(due - now)
            key = keys[(i * lines + n) * 7919 % devices]
            basic = base64.b64encode(f"{server.account}:{key}".encode()).decode()
            sent = time.perf_counter()
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\nIf-None-Match: {etag}\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(4096)
            if not answer.startswith(b"HTTP/1.1 304"):
                sys.exit(f"a poll was answered {answer[:100]!r}")
            times.append(time.perf_counter() - sent)
            late.append(sent - due)
        connection.close()

    threads = [threading.Thread(target=line, args=(n, 11, 303)) for n in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    cuts = statistics.quantiles(times, n=100)
    busy = (server.cpu() - cpu) / took
    figures = f"{len(times) / took:,.0f} polls/s; median {1000 * cuts[49]:.2f} ms, 99 % within {1000 * cuts[98]:.1f} ms; {busy:.2f} of a core; {server.memory('VmRSS'):.0f} MiB"
    table.row(f"{devices:,} devices, each polling every five minutes, for {seconds} s (no peer)", figures, "", "", "3,300 polls/s")
    server.stop()


def noisy_neighbour(table: Table, binary: str) -> None:
    """What one neighbour can do to the polls of all others."""
    noisy.neighbours(table, binary, Server, iocs, domains)


def growth(table: Table, binary: str) -> None:
    """What a change costs by how much exists."""
    growing.growth(table, binary, table.before)


def receipts(table: Table, binary: str) -> None:
    """What it costs to note who fetched what."""
    noting.receipts(table, binary, table.before)


def feeds(table: Table, binary: str) -> None:
    """What fetching a list costs by how much changed."""
    os.environ["IOCAST_FETCH_NETWORKS"] = "127.0.0.0/8"
    fetching.feeds(table, binary, Server)


def soak(table: Table, binary: str) -> None:
    """How memory develops under steady work."""
    soaking.soak(table, binary, Server)


ROWS = {f.__name__.replace("_", "-"): f for f in [polls, many_devices, imports, publishing, taxii, many_groups, a_million, growth, receipts, feeds, noisy_neighbour, soak]}
OWN = {"lists": list_figures.figures, "extractors": extractors.figures}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench", description="iocast beside its peers on this machine.")
    parser.add_argument("binary", help=argparse.SUPPRESS)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which: {', '.join(ROWS)}, or lists for the large lists' own figures, or extractors for what is read from the files in IOCAST_SAMPLES beside other tools [all but these two and soak]")
    parser.add_argument("--quick", action="store_true", help="smaller numbers, two rounds")
    parser.add_argument("--before", metavar="BINARY", help="an earlier iocast, measured beside this one by the rows growth and receipts")
    given = parser.parse_intermixed_args()
    unknown = [row for row in given.rows if row not in [*ROWS, *OWN]]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are: {', '.join([*ROWS, *OWN])}")
    if len(given.rows) == 1 and given.rows[0] in OWN:
        OWN[given.rows[0]](given.binary)
        return
    table = Table(given.quick, given.before)
    for row in given.rows or [row for row in ROWS if row != "soak"]:
        ROWS[row](table, given.binary)


if __name__ == "__main__":
    main()
