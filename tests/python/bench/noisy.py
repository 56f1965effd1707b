"""Noisy neighbours: honest polls at an open-loop 200 a second, beside each thing that one neighbour can do to all others.

Run as a program it is the honest one: `noisy.py PORT PATH AUTHORIZATION ETAG SECONDS` polls and prints its times as JSON.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

RATE = 200
LINES = 8


def poll(port: int, path: str, authorization: str, etag: str, seconds: float) -> dict:
    """Polls when it is time to, whether the answer before has come or not; each line has a share of the polls."""
    times, lags, failed, begun = [], [], [0], time.perf_counter() + 0.2
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nIf-None-Match: {etag}\r\n\r\n".encode()

    def line(n: int) -> None:
        connection = None
        for i in range(n, int(RATE * seconds), LINES):
            due = begun + i / RATE
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            sent = time.perf_counter()
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", port), 30)
                connection.sendall(request)
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    some = connection.recv(4096)
                    if not some:
                        raise OSError("closed")
                    answer += some
                if not answer.startswith(b"HTTP/1.1 304"):
                    failed[0] += 1
                if b"connection: close" in answer.lower():
                    connection.close()
                    connection = None
            except OSError:
                failed[0] += 1
                connection = None
            # From when it was due: a poll that waits behind another waits, too.
            times.append(time.perf_counter() - due)
            lags.append(sent - due)

    threads = [threading.Thread(target=line, args=(n,)) for n in range(LINES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cut = lambda values: statistics.quantiles(values, n=100)[98]
    return {"p50": statistics.median(times), "p99": cut(times), "lag": cut(lags), "failed": failed[0], "polls": len(times)}


def honest(server, url: str, etag: str, seconds: float) -> dict:
    path = f"{urllib.parse.urlparse(url).path}/manifest.json"
    args = [sys.executable, __file__, str(server.port), path, server.basic(), etag, str(seconds)]
    return json.loads(subprocess.run(args, check=True, capture_output=True, text=True).stdout)


class Attack:
    """Does something over and over, on several threads, until it is told to stop."""

    def __init__(self, lines: int, once):
        self.over, self.done = threading.Event(), 0
        self.threads = [threading.Thread(target=self.run, args=(once, n), daemon=True) for n in range(lines)]

    def run(self, once, n: int) -> None:
        turn = 0
        while not self.over.is_set():
            try:
                once(n, turn)
                self.done += 1
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            turn += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)


def ask(server, path: str, headers: dict, method: str = "GET", body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


class Held:
    """Connections that are opened and then left alone."""

    def __init__(self, server, count: int, begin: bytes, read: bool):
        self.server, self.count, self.begin, self.read, self.lines = server, count, begin, read, []

    def __enter__(self):
        for _ in range(self.count):
            try:
                line = socket.create_connection(("127.0.0.1", self.server.port), 10)
                line.sendall(self.begin)
                if self.read:
                    line.recv(4096)
                self.lines.append(line)
            except OSError:
                break
        return self

    def __exit__(self, *_):
        for line in self.lines:
            line.close()


def neighbours(table, binary: str, Server, iocs, domains) -> None:
    size, seconds, million, groups = (20_000, 5, 100_000, 100) if table.quick else (100_000, 15, 1_000_000, 1_000)
    server = Server(binary)
    source = server.source()
    misp, misp_id = honest_group(server)
    listed, listed_id = server.group("plain-list", limit=size + 10)
    taxii, taxii_id = server.group("taxii", limit=size + 10)
    urls = "".join(f"http://host{i}.evil.example/some/longer/path/{i}\n" for i in range(size)).encode()
    server.call("POST", f"/api/v1/sources/{source}/iocs", urls, "text/plain")
    etag = fill(server, source, misp, misp_id, iocs)
    for group in (listed_id, taxii_id):
        server.wait_published(group, size + 10)
    path = lambda url: urllib.parse.urlparse(url).path
    device, person = {"Authorization": server.basic()}, {"Authorization": f"Bearer {server.token}"}
    objects = f"/taxii2/{server.account}/collections/{taxii_id}/objects/"
    nested = "a" + "%5B" * 4_000 + "." + "%5D" * 4_000 + "b"
    times = ",".join(f"2026-01-01T00:00:00.{i:06}Z" for i in range(90))
    plain = f"GET {path(listed)} HTTP/1.1\r\nHost: x\r\nAuthorization: {server.basic()}\r\n\r\n".encode()
    half = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n" + b" " * 500_000
    idle_line = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"

    def add(body: bytes) -> None:
        ask(server, f"/api/v1/sources/{source}/iocs", {**person, "Content-Type": "application/json"}, "POST", body)

    large = [domains(million, 20_000_000)]

    def once(n: int, turn: int) -> None:
        add(large.pop()) if large else time.sleep(0.1)

    def many(n: int, turn: int) -> None:
        add(domains(million // 10, 30_000_000 + turn * (million // 10)))

    attacks = [
        ("brackets in brackets, 2 searches at once", lambda: Attack(2, lambda n, turn: ask(server, f"/api/v1/iocs?value={nested}", person))),
        (f"TAXII filter of 90 dates over {size:,} IOCs, 4 at once", lambda: Attack(4, lambda n, turn: ask(server, f"{objects}?match[version]={times}", device))),
        (f"views `?v=json&s=N` of {size:,} URLs, 30 at once", lambda: Attack(30, lambda n, turn: ask(server, f"{path(listed)}?v=json&s={n + turn * 30}", device))),
        ("100 readers of an identity list who never read", lambda: Held(server, 100, plain, False)),
        ("400 strangers with half a body of 1 MB", lambda: Held(server, 400, half, False)),
        ("2,000 idle connections", lambda: Held(server, 2_000, idle_line, True)),
        (f"imports of {million // 10:,} IOCs, one after the other", lambda: Attack(1, many)),
        (f"one import of {million:,} IOCs", lambda: Attack(1, once)),
    ]
    measure(table, server, misp, etag, seconds, attacks)
    server.stop()
    # On a server of its own: each of the groups would look at all that was imported above.
    server = Server(binary)
    source = server.source()
    misp, misp_id = honest_group(server)
    noisy = [server.group("plain-list", limit=500, default_rule=False)[1] for _ in range(groups)]
    server.call("POST", "/api/v1/rules", {"name": "noisy", "criteria": {"tags": ["noisy"]}, "group_ids": noisy})
    etag = fill(server, source, misp, misp_id, iocs)
    person = {"Authorization": f"Bearer {server.token}"}

    def publish(n: int, turn: int) -> None:
        add(domains(10, 10_000_000 + turn * 10, system_tags=["noisy"]))
        time.sleep(0.2)

    measure(table, server, misp, etag, seconds, [(f"publishing {groups:,} groups at each of 5 imports a second", lambda: Attack(1, publish))])
    server.stop()


def honest_group(server) -> tuple[str, str]:
    """What the attacks bring in is not for the group that is polled: it stays as it is."""
    url, group = server.group("misp", limit=2_000, default_rule=False)
    server.call("POST", "/api/v1/rules", {"name": "honest", "criteria": {"tags": ["honest"]}, "group_ids": [group]})
    return url, group


def fill(server, source: str, url: str, group: str, iocs) -> str:
    """Puts 2,000 IOCs into the honest group, and gives the ETag of its manifest."""
    server.load(source, iocs(2_000, system_tags=["honest"]))
    server.wait_published(group, 2_000)
    return server.wait_served(url, "manifest.json", lambda body: len(body) > 10)[0].getheader("ETag")


def measure(table, server, url: str, etag: str, seconds: float, attacks: list) -> None:
    calm = honest(server, url, etag, seconds)
    # One baseline for all: what an attack leaves behind counts against the next one, too.
    idle = server.memory("VmRSS")
    ms = lambda value: f"{1000 * value:.1f} ms"
    table.row(f"honest polls, {RATE} a second, alone: 99th percentile (generator's own lag)", f"{ms(calm['p99'])} ({ms(calm['lag'])})", "", "", "")
    for what, attack in attacks:
        server.reset_peak()
        with attack():
            # What is published during this time is answered with 200: the poll counts as failed.
            seen = honest(server, url, etag, seconds)
        above = server.peak_mib() - idle
        reach = max(2 * calm["p99"], 0.010)
        figures = f"{ms(seen['p99'])} ({ms(seen['lag'])}); {seen['failed']} of {seen['polls']} not 304; peak +{above:.0f} MiB"
        table.row(f"the same beside {what}", figures, ms(calm["p99"]), f"{seen['p99'] / calm['p99']:.1f}", f"≤ {ms(reach)}, ≤ 256 MiB")
        time.sleep(2)


if __name__ == "__main__":
    port, where, authorization, tag, seconds = sys.argv[1:]
    print(json.dumps(poll(int(port), where, authorization, tag, float(seconds))))
    sys.stdout.flush()
    os._exit(0)
