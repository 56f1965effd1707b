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


class Target:
    """A server of its own, with a group that is polled honestly and what the attacks aim at."""

    def __init__(self, binary: str, Server, size: int, iocs):
        self.server = server = Server(binary)
        self.size, self.source = size, server.source()
        self.misp, misp_id = honest_group(server)
        listed, listed_id = server.group("plain-list", limit=size + 10)
        _, taxii_id = server.group("taxii", limit=size + 10)
        urls = "".join(f"http://host{i}.evil.example/some/longer/path/{i}\n" for i in range(size)).encode()
        server.call("POST", f"/api/v1/sources/{self.source}/iocs", urls, "text/plain")
        self.etag = fill(server, self.source, self.misp, misp_id, iocs)
        for group in (listed_id, taxii_id):
            server.wait_published(group, size + 10)
        self.listed = urllib.parse.urlparse(listed).path
        self.objects = f"/taxii2/{server.account}/collections/{taxii_id}/objects/"
        self.device, self.person = {"Authorization": server.basic()}, {"Authorization": f"Bearer {server.token}"}

    def add(self, body: bytes) -> None:
        ask(self.server, f"/api/v1/sources/{self.source}/iocs", {**self.person, "Content-Type": "application/json"}, "POST", body)

    def attacks(self, million: int, domains) -> list:
        """What each is called, and how it begins."""
        server, size = self.server, self.size
        nested = "a" + "%5B" * 4_000 + "." + "%5D" * 4_000 + "b"
        times = ",".join(f"2026-01-01T00:00:00.{i:06}Z" for i in range(90))
        plain = f"GET {self.listed} HTTP/1.1\r\nHost: x\r\nAuthorization: {server.basic()}\r\n\r\n".encode()
        half = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n" + b" " * 500_000
        idle_line = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
        large = []

        def once(n: int, turn: int) -> None:
            if large:
                time.sleep(0.1)
            else:
                large.append(True)
                self.add(domains(million, 20_000_000))

        def many(n: int, turn: int) -> None:
            self.add(domains(million // 10, 30_000_000 + turn * (million // 10)))

        return [
            ("brackets in brackets, 2 searches at once", lambda: Attack(2, lambda n, turn: ask(server, f"/api/v1/iocs?value={nested}", self.person))),
            (f"TAXII filter of 90 dates over {size:,} IOCs, 4 at once", lambda: Attack(4, lambda n, turn: ask(server, f"{self.objects}?match[version]={times}", self.device))),
            (f"views `?v=json&s=N` of {size:,} URLs, 30 at once", lambda: Attack(30, lambda n, turn: ask(server, f"{self.listed}?v=json&s={n + turn * 30}", self.device))),
            ("100 readers of an identity list who never read", lambda: Held(server, 100, plain, False)),
            ("400 strangers with half a body of 1 MB", lambda: Held(server, 400, half, False)),
            ("2,000 idle connections", lambda: Held(server, 2_000, idle_line, True)),
            (f"imports of {million // 10:,} IOCs, one after the other", lambda: Attack(1, many)),
            (f"one import of {million:,} IOCs", lambda: Attack(1, once)),
        ]


def neighbours(table, binary: str, Server, iocs, domains) -> None:
    size, seconds, million, groups = (20_000, 5, 100_000, 100) if table.quick else (100_000, 15, 1_000_000, 1_000)
    target = Target(binary, Server, size, iocs)
    calm = honest(target.server, target.misp, target.etag, seconds)
    table.row(f"honest polls, {RATE} a second, alone: 99th percentile (generator's own lag)", f"{ms(calm['p99'])} ({ms(calm['lag'])})", "", "", "")
    # Each on a server that was idle before.
    for at, (what, _) in enumerate(target.attacks(million, domains)):
        target = target or Target(binary, Server, size, iocs)
        attack = target.attacks(million, domains)[at][1]
        measure(table, target.server, target.misp, target.etag, seconds, calm, what, attack)
        target.server.stop()
        target = None
    together(table, Target(binary, Server, size, iocs), seconds / 5, million, domains)
    server = Server(binary)
    source = server.source()
    misp, misp_id = honest_group(server)
    noisy = [server.group("plain-list", limit=500, default_rule=False)[1] for _ in range(groups)]
    server.call("POST", "/api/v1/rules", {"name": "noisy", "criteria": {"tags": ["noisy"]}, "group_ids": noisy})
    etag = fill(server, source, misp, misp_id, iocs)
    person = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}

    def publish(n: int, turn: int) -> None:
        ask(server, f"/api/v1/sources/{source}/iocs", person, "POST", domains(10, 10_000_000 + turn * 10, system_tags=["noisy"]))
        time.sleep(0.2)

    measure(table, server, misp, etag, seconds, calm, f"publishing {groups:,} groups at each of 5 imports a second", lambda: Attack(1, publish))
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


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def idle_memory(server) -> float:
    """MiB held once what was done before has settled."""
    time.sleep(10)
    server.raw("GET", "/api/v1/health")
    server.reset_peak()
    return server.memory("VmRSS")


def measure(table, server, url: str, etag: str, seconds: float, calm: dict, what: str, attack) -> None:
    idle = idle_memory(server)
    with attack():
        # What is published during this time is answered with 200: the poll counts as failed.
        seen = honest(server, url, etag, seconds)
    above = server.peak_mib() - idle
    reach = max(2 * calm["p99"], 0.010)
    figures = f"{ms(seen['p99'])} ({ms(seen['lag'])}); {seen['failed']} of {seen['polls']} not 304; peak +{above:.0f} MiB"
    table.row(f"the same beside {what}", figures, ms(calm["p99"]), f"{seen['p99'] / calm['p99']:.1f}", f"≤ {ms(reach)}, ≤ 256 MiB")


def together(table, target, seconds: float, million: int, domains) -> None:
    """All on one server, one after the other: what an earlier one leaves in caches and in the allocator counts, too."""
    idle = idle_memory(target.server)
    for _, attack in target.attacks(million, domains):
        with attack():
            time.sleep(seconds)
    table.row("all of these on one server, one after the other: peak of memory above idle", f"+{target.server.peak_mib() - idle:.0f} MiB", f"{idle:.0f} MiB idle", "", "")
    target.server.stop()


if __name__ == "__main__":
    port, where, authorization, tag, seconds = sys.argv[1:]
    print(json.dumps(poll(int(port), where, authorization, tag, float(seconds))))
    sys.stdout.flush()
    os._exit(0)
