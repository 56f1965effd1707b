"""The figures of large lists: a firewall's addresses and a SIEM's CSV."""

import json
import os
import time

from peers import wrk
from server import Server


def rate(server: Server, url: str, headers: dict) -> str:
    rates = [wrk(url, {"Authorization": server.basic(), **headers}, 5) for _ in range(3)]
    return f"{sorted(rates)[1]:,.0f} (median of 3; {min(rates):,.0f} to {max(rates):,.0f})"


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def figures(binary: str) -> None:
    """Prints them."""
    print(f"{os.cpu_count()} cores; server, client and load on the same machine\n\n| what | figure |\n|---|---|")
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
        server.wait_published(group, count - spare)
        row(f"{what}: answer of the import → all published", f"{time.perf_counter() - begun:.2f} s; peak RSS {server.peak_mib():.0f} MiB ({peak:.0f} after the import)")
        times = []
        for n in range(10):
            first = count - spare + n * 20
            server.call("POST", f"/api/v1/sources/{source}/iocs", json.dumps([record(i) for i in range(first, first + 20)]).encode())
            begun = time.perf_counter()
            server.wait_published(group, first + 20)
            times.append(time.perf_counter() - begun)
        row(f"{what}: answer of an import of 20 more → published", f"{sorted(times)[5]:.3f} s (median of 10; at most {max(times):.3f})")
        plain = server.feed(url, "")[1]
        answer, gzip = server.feed(url, "", {"Accept-Encoding": "gzip"})
        row(f"{what}: the body", f"{len(plain):,} bytes, gzip {len(gzip):,}; {plain.count(bytes([10])):,} lines")
        row(f"{what}: 304, Basic, requests/s", rate(server, url, {"If-None-Match": answer.getheader("ETag")}))
        row(f"{what}: 200, gzip, requests/s", rate(server, url, {"Accept-Encoding": "gzip"}))
        row(f"{what}: 200, plain, requests/s", rate(server, url, {}))
        row(f"{what}: peak RSS of that server", f"{server.peak_mib():.0f} MiB")
        server.stop()
