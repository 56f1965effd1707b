"""Subscriptions: a list of which one in a hundred changed, at three sizes, beside importing as many; and what subscriptions cost while
nothing is due."""

import http.server
import statistics
import threading
import time


class Feed:
    """One list on a server of its own."""

    def __init__(self):
        feed = self
        self.body = b"evil.example\n"

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(feed.body)))
                self.end_headers()
                self.wfile.write(feed.body)

            def log_message(self, *said) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/list.txt"

    def says(self, names: list[str]) -> None:
        self.body = ("\n".join(names) + "\n").encode()


def timed(server, call) -> tuple[float, float, dict]:
    """Seconds, seconds of processor time, and the answer."""
    begun, cpu = time.perf_counter(), server.cpu()
    answer = call()
    return time.perf_counter() - begun, server.cpu() - cpu, answer


def one_in_a_hundred(table, server, size: int) -> None:
    feed, source = Feed(), server.call("POST", "/api/v1/sources", {"name": f"List of {size}", "confidence": 2})["id"]
    names = [f"s{size}h{n}.evil{n % 977}.example" for n in range(size)]
    feed.says(names)
    at = f"/api/v1/sources/{source}/subscription"
    server.call("PUT", at, {"url": feed.url, "coverage": "full", "paused": True})
    fetch = lambda: server.call("POST", f"{at}/fetch", {})
    first, _, _ = timed(server, fetch)
    same, _, _ = timed(server, fetch)
    changed, imported = [], []
    part = size // 100
    for turn in range(3):
        for n in range(part):
            names[(n * 100 + turn) % size] = f"s{size}t{turn}n{n}.evil{n % 977}.example"
        feed.says(names)
        took, cpu, answer = timed(server, fetch)
        if (answer["new"], answer["gone"]) != (part, part):
            raise SystemExit(f"the fetch did something else: {answer}")
        changed.append((took, cpu))
        other = server.call("POST", "/api/v1/sources", {"name": f"Part {size} {turn}", "confidence": 2})["id"]
        body = "\n".join(f"s{size}i{turn}n{n}.evil{n % 977}.example" for n in range(part)).encode()
        took, cpu, _ = timed(server, lambda: server.call("POST", f"/api/v1/sources/{other}/iocs", body, "text/plain"))
        imported.append((took, cpu))
    median = lambda of, n: statistics.median(pair[n] for pair in of)
    ours, alone = median(changed, 0), median(imported, 0)
    figures = f"{ours:.2f} s, {median(changed, 1):.2f} s of a core (first {first:.1f} s, the same again {same:.2f} s)"
    table.row(f"a full list of {size:,} hosts, {part:,} replaced: fetched", figures, f"{alone:.2f} s, {median(imported, 1):.2f} s of a core (importing {part:,})", f"{ours / alone:.1f}", "≤ 3")


def idle(table, binary: str, Server) -> None:
    count, seconds = (100, 10) if table.quick else (1_000, 30)
    server, feed = Server(binary), Feed()
    busy = {}
    for total in (0, count):
        for n in range(total):
            source = server.call("POST", "/api/v1/sources", {"name": f"Feed {n}", "confidence": 2})["id"]
            server.call("PUT", f"/api/v1/sources/{source}/subscription", {"url": feed.url, "every_minutes": 43_200})
        while total and server.call("GET", f"/api/v1/sources/{source}/subscription")["freshness"] != "fresh":
            time.sleep(0.5)
        time.sleep(5)
        cpu = server.cpu()
        time.sleep(seconds)
        busy[total] = (server.cpu() - cpu) / seconds
    table.row(f"{count:,} subscriptions of which none is due", f"{busy[count]:.4f} of a core", f"{busy[0]:.4f} (no subscription)", "", "≤ 0.01 of a core more")
    server.stop()


def feeds(table, binary: str, Server) -> None:
    server = Server(binary)
    for size in [10_000, 30_000, 100_000] if table.quick else [100_000, 300_000, 1_000_000]:
        one_in_a_hundred(table, server, size)
    table.row("memory of that", f"{server.memory('VmRSS'):.0f} MiB, at most {server.peak_mib():.0f} MiB", "", "", "")
    server.stop()
    idle(table, binary, Server)
