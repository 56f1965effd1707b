"""A soak: imports, polls and edits at a steady pace for a quarter of an hour, and how the memory of the server develops."""

import json
import random
import statistics
import threading
import time

NAMES = 400_000
BATCH = 2_000
TYPES = ["misp"] * 10 + ["plain-list", "panos-edl", "rpz", "csv", "json", "taxii"]


class Pace:
    """Does something every so many seconds until it is told to stop."""

    def __init__(self, pause: float, once):
        self.over, self.done = threading.Event(), 0
        self.thread = threading.Thread(target=self.run, args=(pause, once), daemon=True)
        self.thread.start()

    def run(self, pause: float, once) -> None:
        while not self.over.wait(pause):
            once(self.done)
            self.done += 1

    def stop(self) -> None:
        self.over.set()
        self.thread.join(60)


def soak(table, binary: str, Server) -> None:
    minutes, settling = (3, 1) if table.quick else (15, 5)
    server, rng = Server(binary), random.Random(1)
    source = server.source()
    groups = [server.group(of_type, limit=5_000) for of_type in TYPES]

    def add(_: int) -> None:
        first = rng.randrange(NAMES - BATCH)
        server.load(source, json.dumps([{"value": f"host{n}.evil.example"} for n in range(first, first + BATCH)]).encode())

    def edit(turn: int) -> None:
        server.call("PATCH", f"/api/v1/groups/{groups[turn % len(groups)][1]}", {"limit": 4_000 + rng.randrange(1_000)})

    def poll(turn: int) -> None:
        url, of_type = groups[turn % len(groups)][0], TYPES[turn % len(groups)]
        if of_type == "misp":
            for event in list(json.loads(server.feed(url, "manifest.json")[1]))[:3]:
                server.feed(url, f"{event}.json")
        elif of_type != "taxii":
            server.feed(url, "")

    paces = [Pace(2.4, add), Pace(2.5, edit), Pace(0.5, poll), Pace(0.7, poll)]
    held = []
    for _ in range(minutes * 12):
        time.sleep(5)
        held.append(server.memory("VmRSS"))
    for pace in paces:
        pace.stop()
    later = held[settling * 12 :]
    slope = statistics.linear_regression([n / 12 for n in range(len(later))], later).slope
    by_minute = ", ".join(f"{held[n]:.0f}" for n in range(11, len(held), 12))
    figures = f"{slope:+.1f} MiB a minute after {settling} minutes; peak {server.peak_mib():.0f} MiB; at the end of each minute {by_minute}"
    work = f"{paces[0].done} imports of {BATCH:,}, {paces[1].done} edits, {paces[2].done + paces[3].done} polls"
    table.row(f"soak of {minutes} minutes, {len(TYPES)} groups: {work}", figures, "", "", "≤ 1 MiB a minute, ≤ 400 MiB")
    server.stop()
