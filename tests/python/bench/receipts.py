"""Receipts: what noting who fetched what costs. A poll beside an earlier binary, where one is given; the memory that very many
clients take, and the processor time of writing down what they fetched first."""

import base64
import json
import socket
import statistics
import threading
import time
import urllib.parse

from server import Server, domains, iocs

# Clients that are kept for a device.
CLIENTS = 16
LINES = 8


class Line:
    """A connection that stays open: many small requests from one client program."""

    def __init__(self, server: Server):
        self.connection = socket.create_connection(("127.0.0.1", server.port))
        self.account, self.rest = server.account, b""

    def get(self, path: str, key: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        basic = base64.b64encode(f"{self.account}:{key}".encode()).decode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n{lines}\r\n".encode())
        answer = self.rest
        while b"\r\n\r\n" not in answer:
            answer += self.connection.recv(65536)
        head, body = answer.split(b"\r\n\r\n", 1)
        status = int(head[9:12])
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])}
        length = 0 if status == 304 else int(found.get("content-length", 0))
        while len(body) < length:
            body += self.connection.recv(65536)
        self.rest = body[length:]
        return status, found, body[:length]


def side_by_side(work, count: int) -> None:
    """Does `work(n)` for every n below `count`, on some threads."""

    def some(first: int) -> None:
        for n in range(first, count, LINES):
            work(n, first)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(LINES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu_of_polls(binary: str, rounds: int, polls: int):
    """A server with one device of 2,000 IOCs; gives microseconds of processor time for each of some polls that are answered 304."""
    server = Server(binary)
    source = server.source()
    url, group = server.group("misp")
    server.load(source, iocs(2_000))
    server.wait_published(group, 2_000)
    path = f"{urllib.parse.urlparse(url).path}/manifest.json"
    line = Line(server)
    _, headers, _ = line.get(path, server.key, {"User-Agent": "MISP", "MISP-uuid": "bench"})
    again = {"User-Agent": "MISP", "MISP-uuid": "bench", "If-None-Match": headers["etag"]}

    def measure() -> float:
        before = server.cpu()
        for _ in range(polls):
            line.get(path, server.key, again)
        return 1e6 * (server.cpu() - before) / polls

    measure()
    return server, measure


def receipts(table, binary: str, before: str | None) -> None:
    rounds, polls = (5, 5_000) if table.quick else (20, 10_000)
    ours, measure = cpu_of_polls(binary, rounds, polls)
    if before:
        theirs, measure_before = cpu_of_polls(before, rounds, polls)
        pairs = [(measure(), measure_before()) if n % 2 == 0 else tuple(reversed((measure_before(), measure()))) for n in range(rounds)]
        theirs.stop()
        ratios = [now / then for now, then in pairs]
        figures = [f"{statistics.median(p[side] for p in pairs):.1f} µs of CPU" for side in (0, 1)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
        table.row(f"a poll that is answered 304, {rounds} pairs, against the earlier one", *figures, spread, "≤ 1.05")
    else:
        table.row("a poll that is answered 304 (no earlier one)", f"{statistics.median(measure() for _ in range(rounds)):.1f} µs of CPU", "", "", "")
    ours.stop()
    clients(table, binary)
    misps(table, binary)


def clients(table, binary: str) -> None:
    """Clients of lists, 16 behind each device, which fetch one publication and then ask again."""
    devices = 60 if table.quick else 6_250
    server = Server(binary)
    server.load(server.source(), domains(1))
    paths = [""] * devices
    side_by_side(lambda n, _: paths.__setitem__(n, urllib.parse.urlparse(server.group("plain-list", limit=10)[0]).path), devices)
    lines = [Line(server) for _ in range(LINES)]
    etags: dict[str, str] = {}

    def fetch(n: int, line: int) -> None:
        path = paths[n // CLIENTS]
        known = {"If-None-Match": etags[path]} if path in etags else {}
        _, headers, _ = lines[line].get(path, server.key, {"User-Agent": f"firewall {n % CLIENTS}", **known})
        etags.setdefault(path, headers.get("etag", ""))

    # Every path is warm before, with a client of its own.
    for path in paths:
        etags[path] = lines[0].get(path, server.key, {"User-Agent": "firewall 0"})[1]["etag"]
    wait_written(server)
    count = devices * CLIENTS
    held, used = server.memory("VmRSS"), server.cpu()
    side_by_side(fetch, count)
    wait_written(server)
    first, after = server.cpu() - used, server.memory("VmRSS")
    used = server.cpu()
    side_by_side(fetch, count)
    wait_written(server)
    again = server.cpu() - used
    figures = f"{after - held:+.0f} MiB; {1000 * (first - again) / count:.2f} ms of CPU each to write it down"
    table.row(f"receipts of {count:,} clients of {devices:,} lists (no peer)", figures, "", "", "≤ 60 MiB, ≤ 1 ms")
    server.stop()


def misps(table, binary: str) -> None:
    """MISPs that import a full group each."""
    count, live = (4, 2_000) if table.quick else (40, 50_000)
    server = Server(binary)
    source = server.source()
    url, group = server.group("misp")
    server.load(source, iocs(live))
    server.wait_published(group, live)
    path, line = urllib.parse.urlparse(url).path, Line(server)
    # What is published is served a moment later.
    server.wait_served(url, "manifest.json", lambda body: len(json.loads(body)) >= live // 2_000)
    events = list(json.loads(server.feed(url, "manifest.json")[1]))
    for event in events:
        line.get(f"{path}/{event}.json", server.key, {"User-Agent": "bench"})
    wait_written(server)
    held = server.memory("VmRSS")
    for n in range(count):
        headers = {"User-Agent": "MISP", "MISP-uuid": f"00000000-0000-4000-8000-{n % CLIENTS:012}"}
        line.get(f"{path}/manifest.json", server.key, headers)
        for event in events:
            line.get(f"{path}/{event}.json", server.key, headers)
    wait_written(server)
    figures = f"{server.memory('VmRSS') - held:+.0f} MiB"
    table.row(f"receipts of {count} imports of {len(events)} events (no peer)", figures, "", "", "≤ 60 MiB")
    server.stop()


def wait_written(server: Server) -> None:
    """Pulls are written every 0.4 s: until the server does nothing."""
    quiet = 0
    while quiet < 4:
        used = server.cpu()
        time.sleep(0.5)
        quiet = quiet + 1 if server.cpu() - used < 0.05 else 0
