"""What iocast does on this machine, as one table. Needs nothing but Python and wrk.

usage: bench.py PATH_TO_IOCAST [lists]
"""

import base64
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse


class Server:
    """A fresh server on a fresh folder."""

    def __init__(self, binary: str):
        self.folder = tempfile.TemporaryDirectory(prefix="iocast-bench-")
        self.process = subprocess.Popen(
            [binary, "serve", "--data", self.folder.name, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        said = ""
        while "iocast listens" not in said:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("the server did not start")
            said += line
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", said).group(1))
        word = lambda name: re.search(name + r"\s+(\S+)", said).group(1)
        self.account, self.key = word("account ID"), word("appliance key")
        self.token = self.call("POST", "/api/v1/sessions", {"email": word("administrator"), "password": word("password")})["token"]

    def raw(self, method: str, path: str, body: bytes | None = None, headers: dict | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status >= 400:
            sys.exit(f"{method} {path}: {answer.status} {data[:300]!r}")
        return answer, data

    def call(self, method: str, path: str, body=None, content_type: str = "application/json"):
        headers = {"Content-Type": content_type}
        if hasattr(self, "token"):
            headers["Authorization"] = f"Bearer {self.token}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        return json.loads(self.raw(method, path, data, headers)[1] or b"null")

    def feed(self, url: str, name: str, headers: dict | None = None):
        basic = base64.b64encode(f"{self.account}:{self.key}".encode()).decode()
        return self.raw("GET", f"{urllib.parse.urlparse(url).path}/{name}".rstrip("/"), None, {"Authorization": f"Basic {basic}", **(headers or {})})

    def peak_mib(self) -> float:
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


def iocs(count: int, offset: int = 0) -> bytes:
    """Made-up IOCs of all kinds with enrichment, in our own JSON."""
    out = []
    for i in range(offset, offset + count):
        digest = hashlib.sha256(str(i).encode()).hexdigest()
        value = [
            f"host{i}.evil.example",
            f"http://evil{i % 977}.example/path/{digest[:12]}?q={i}",
            f"user{i}@evil.example",
            f"{i >> 24 & 63 | 64}.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}",
            digest[:32],
            digest[:40],
            digest,
            f"2001:db8:{i >> 16 & 65535:x}::{i & 65535:x}",
        ][i % 8]
        out.append(
            {
                "value": value,
                "first_seen": "2026-10-01T00:00:00Z",
                "severity": ["low", "medium", "high"][i % 3],
                "user_tags": [f"case-{i % 50}"],
                "system_tags": ["phishing"],
                "threat_actors": [f"Actor {i % 40}"],
                "malware_families": [f"Family {i % 200}"],
                "campaigns": [f"Campaign {i % 20}"],
            }
        )
    return json.dumps(out).encode()


def wait_published(server: Server, group: str, count: int) -> None:
    while server.call("GET", f"/api/v1/groups/{group}")["published"] != count:
        time.sleep(0.005)


def wrk(server: Server, url: str, name: str, headers: dict) -> str:
    basic = base64.b64encode(f"{server.account}:{server.key}".encode()).decode()
    command = ["wrk", "-t1", "-c32", "-d5s", "-H", f"Authorization: Basic {basic}"]
    for key, value in headers.items():
        command += ["-H", f"{key}: {value}"]
    rates = []
    for _ in range(3):
        said = subprocess.run(command + [f"{url}/{name}".rstrip("/")], capture_output=True, text=True, check=True).stdout
        rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1)))
    return f"{sorted(rates)[1]:,.0f} (median of 3; {min(rates):,.0f} to {max(rates):,.0f})"


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def lists(binary: str) -> None:
    """Large lists: a firewall's addresses and a SIEM's CSV."""
    cases = [
        ("250,000 addresses, PAN-OS list", "panorama", "ip", 250_000, lambda i: f"45.{i >> 16}.{i >> 8 & 255}.{i & 255}"),
        ("500,000 domains, Splunk ES CSV", "splunk-es", "domain", 500_000, lambda i: f"host{i}.evil.example"),
    ]
    for what, of_type, kind, count, value in cases:
        server = Server(binary)
        source = server.call("POST", "/api/v1/sources", {"name": "Bench", "confidence": 2})["id"]
        device = server.call("POST", "/api/v1/devices", {"name": "Bench", "device_type": of_type})["id"]
        group = server.call("POST", f"/api/v1/devices/{device}/groups", {"name": "Bench", "kind": kind})
        url, group = group["url"], group["id"]
        record = lambda i: {"value": value(i), "severity": "high", "malware_families": [f"Family {i % 200}"], "threat_actors": [f"Actor {i % 40}"]}
        spare = 200
        server.call("POST", f"/api/v1/sources/{source}/iocs", json.dumps([record(i) for i in range(count - spare)]).encode())
        peak = server.peak_mib()
        begun = time.perf_counter()
        wait_published(server, group, count - spare)
        row(f"{what}: answer of the import → all published", f"{time.perf_counter() - begun:.2f} s; peak RSS {server.peak_mib():.0f} MiB ({peak:.0f} after the import)")
        times = []
        for n in range(10):
            first = count - spare + n * 20
            server.call("POST", f"/api/v1/sources/{source}/iocs", json.dumps([record(i) for i in range(first, first + 20)]).encode())
            begun = time.perf_counter()
            wait_published(server, group, first + 20)
            times.append(time.perf_counter() - begun)
        row(f"{what}: answer of an import of 20 more → published", f"{sorted(times)[5]:.3f} s (median of 10; at most {max(times):.3f})")
        plain = server.feed(url, "")[1]
        answer, gzip = server.feed(url, "", {"Accept-Encoding": "gzip"})
        row(f"{what}: the body", f"{len(plain):,} bytes, gzip {len(gzip):,}; {plain.count(bytes([10])):,} lines")
        row(f"{what}: 304, Basic, requests/s", wrk(server, url, "", {"If-None-Match": answer.getheader("ETag")}))
        row(f"{what}: 200, gzip, requests/s", wrk(server, url, "", {"Accept-Encoding": "gzip"}))
        row(f"{what}: 200, plain, requests/s", wrk(server, url, "", {}))
        row(f"{what}: peak RSS of that server", f"{server.peak_mib():.0f} MiB")
        server.stop()


def main() -> None:
    binary = sys.argv[1]
    print(f"{os.cpu_count()} cores; server, client and load on the same machine\n\n| what | figure |\n|---|---|")
    if sys.argv[2:] == ["lists"]:
        lists(binary)
        return
    for count in (50_000, 500_000):
        body = iocs(count)
        server = Server(binary)
        source = server.call("POST", "/api/v1/sources", {"name": "Bench", "confidence": 2})["id"]
        begun = time.perf_counter()
        report = server.call("POST", f"/api/v1/sources/{source}/iocs", body)
        took = time.perf_counter() - begun
        assert report["accepted"] == count, report["accepted"]
        row(f"import of {count:,} IOCs ({len(body) / 1e6:.0f} MB JSON)", f"{took:.2f} s, {count / took:,.0f} IOCs/s, peak RSS of the server {server.peak_mib():.0f} MiB")
        begun = time.perf_counter()
        report = server.call("POST", f"/api/v1/sources/{source}/iocs", body)
        row(f"the same {count:,} again", f"{time.perf_counter() - begun:.2f} s ({report['unchanged']:,} unchanged)")
        server.stop()

    server = Server(binary)
    source = server.call("POST", "/api/v1/sources", {"name": "Bench", "confidence": 2})["id"]
    device = server.call("POST", "/api/v1/devices", {"name": "Bench", "device_type": "misp"})["id"]
    group = server.call("POST", f"/api/v1/devices/{device}/groups", {"name": "Bench"})
    url, group = group["url"], group["id"]
    server.call("POST", f"/api/v1/sources/{source}/iocs", iocs(49_000))
    begun = time.perf_counter()
    wait_published(server, group, 49_000)
    row("answer of an import of 49,000 → all of them published (25 events)", f"{time.perf_counter() - begun:.2f} s")
    times = []
    for i in range(10):
        server.call("POST", f"/api/v1/sources/{source}/iocs", iocs(100, 49_000 + i * 100))
        begun = time.perf_counter()
        wait_published(server, group, 49_100 + i * 100)
        times.append(time.perf_counter() - begun)
    row("answer of an import of 100 into the same group → published", f"{sorted(times)[5]:.3f} s (median of 10; at most {max(times):.3f})")
    device2 = server.call("POST", "/api/v1/devices", {"name": "Bench2", "device_type": "misp"})["id"]
    begun = time.perf_counter()
    server.call("POST", f"/api/v1/devices/{device2}/groups", {"name": "Bench2"})
    row("creating a group over 50,000 IOCs, until its first publication stands", f"{time.perf_counter() - begun:.2f} s")

    manifest = json.loads(server.feed(url, "manifest.json")[1])
    sizes = lambda name: (len(server.feed(url, name)[1]), len(server.feed(url, name, {"Accept-Encoding": "gzip"})[1]))
    events = [sizes(f"{uuid}.json") for uuid in manifest]
    row("manifest.json of 25 events", "{:,} bytes, gzip {:,}".format(*sizes("manifest.json")))
    row("hashes.csv of 50,000", "{:,} bytes, gzip {:,}".format(*sizes("hashes.csv")))
    row("an event of 2,000 attributes (mean)", f"{sum(e[0] for e in events) // len(events):,} bytes, gzip {sum(e[1] for e in events) // len(events):,}")
    etag = server.feed(url, "manifest.json", {"Accept-Encoding": "gzip"})[0].getheader("ETag")
    first = next(iter(manifest))
    row("304 on the manifest, Basic, requests/s", wrk(server, url, "manifest.json", {"If-None-Match": etag}))
    row("200 manifest, gzip, requests/s", wrk(server, url, "manifest.json", {"Accept-Encoding": "gzip"}))
    row("200 event of 2,000, gzip, requests/s", wrk(server, url, f"{first}.json", {"Accept-Encoding": "gzip"}))
    row("200 event of 2,000, plain, requests/s", wrk(server, url, f"{first}.json", {}))
    row("peak RSS of that server", f"{server.peak_mib():.0f} MiB")
    server.stop()
    lists(binary)


if __name__ == "__main__":
    main()
