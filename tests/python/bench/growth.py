"""Growth: what one change costs, with three sizes of what exists, so that a slope shows. With an earlier binary beside it, both are
measured in the same run."""

import json
import sqlite3
import statistics
import threading
import time

from server import Server

# Of a group that is full: how many members, and how many rounds of ten IOCs.
ROUNDS = 5
# Who add devices at once.
CLIENTS = 16


def plain(count: int, offset: int, **more) -> bytes:
    return json.dumps([{"value": f"host{i}.evil.example", **more} for i in range(offset, offset + count)]).encode()


def publication(server: Server, group: str) -> int:
    return server.call("GET", f"/api/v1/groups/{group}")["publication"]


def ten_into_a_full_group(server: Server, source: str, group: str, offset: int) -> float:
    """Five that displace a member and five that find no room, from the import to the publication that holds the five."""
    before = publication(server, group)
    five = json.loads(plain(5, offset, severity="high")) + json.loads(plain(5, offset + 5, severity="low", last_seen="2020-01-01T00:00:00Z", first_seen="2020-01-01T00:00:00Z"))
    begun = time.perf_counter()
    server.call("POST", f"/api/v1/sources/{source}/iocs", five)
    while publication(server, group) == before:
        time.sleep(0.002)
        if time.perf_counter() - begun > 120:
            raise SystemExit("nothing was published for two minutes")
    return time.perf_counter() - begun


def measured(binary: str, sizes: list[int], limit: int) -> dict[int, dict[str, float]]:
    server = Server(binary)
    source = server.source()
    found, there = {}, 0
    piece = min(sizes[0], 100_000)
    for size in sizes:
        times = []
        while there < size:
            times.append(server.load(source, plain(piece, 1_000_000 + there, severity="low")))
            there += piece
        begun = time.perf_counter()
        _, group = server.group("misp", limit=limit)
        created = time.perf_counter() - begun
        server.wait_published(group, limit)
        # What is counted behind the boundary is counted now.
        time.sleep(1)
        rounds = [ten_into_a_full_group(server, source, group, 500_000_000 + size + 10 * n) for n in range(ROUNDS)]
        found[size] = {
            "importing": piece / statistics.median(times[-5:]),
            "creating": created,
            "ten": statistics.median(rounds),
        }
        device = server.call("GET", f"/api/v1/groups/{group}")["device_id"]
        server.call("DELETE", f"/api/v1/devices/{device}")
    server.stop()
    return found


def one_into_groups(binary: str, sizes: list[int]) -> dict[int, dict[str, float]]:
    """One IOC that every group takes, until all have published it."""
    server = Server(binary)
    source = server.source()
    server.load(source, plain(100, 0))
    database = sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)
    behind = "SELECT count(*) FROM ioc_groups g JOIN accounts a ON a.id = g.account_id WHERE g.applied_seq < a.change_seq"
    found, there = {}, 0
    for size in sizes:
        while there < size:
            server.group("plain-list", limit=1_000)
            there += 1
        rounds, busy = [], []
        for n in range(3):
            begun, cpu = time.perf_counter(), server.cpu()
            server.load(source, plain(1, 1_000_000 + 10 * size + n))
            while database.execute(behind).fetchone()[0]:
                time.sleep(0.02)
            rounds.append(time.perf_counter() - begun)
            busy.append((server.cpu() - cpu) / size * 1_000)
        found[size] = {"groups": statistics.median(rounds), "each": statistics.median(busy)}
    database.close()
    server.stop()
    return found


def adding(binary: str, sizes: list[int]) -> dict[int, float]:
    """Devices with a group of the same name each, added by 16 clients at once: how many a second, up to so many."""
    server = Server(binary)
    server.load(server.source(), plain(100, 0))
    found, there = {}, 0

    def add(client: int, count: int) -> None:
        for n in range(count):
            device = server.call("POST", "/api/v1/devices", {"name": f"Device {there} {client} {n}", "device_type": "plain-list"})
            server.call("POST", f"/api/v1/devices/{device['id']}/groups", {"name": "Malicious", "limit": 1_000})

    for size in sizes:
        each = (size - there) // CLIENTS
        clients = [threading.Thread(target=add, args=(client, each)) for client in range(CLIENTS)]
        begun = time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        found[size] = each * CLIENTS / (time.perf_counter() - begun)
        there += each * CLIENTS
    server.stop()
    return found


def show_groups(table, now: dict, then: dict) -> None:
    show = lambda of: f"{of['groups']:.2f} s, {of['each']:.1f} ms of a core each"
    for size, ours in now.items():
        peer = f"{show(then[size])} (earlier build)" if size in then else ""
        slope = f"{ours['each'] / now[min(now)]['each']:.2f} of the smallest"
        table.row(f"one IOC into {size:,} list groups, until all published", show(ours), peer, slope, "4,000 ≤ 1 s, flat within 1.2")


def growth(table, binary: str, before: str | None) -> None:
    sizes, limit = ([20_000, 60_000, 200_000], 2_000) if table.quick else ([100_000, 300_000, 1_000_000], 50_000)
    few = [50, 100, 200] if table.quick else [250, 1_000, 4_000]
    now = measured(binary, sizes, limit)
    then = measured(before, sizes, limit) if before else {}
    # An earlier build takes too long for the largest.
    show_groups(table, one_into_groups(binary, few), one_into_groups(before, few[:2]) if before else {})
    ours, theirs = adding(binary, few), adding(before, few[:2]) if before else {}
    for size, rate in ours.items():
        peer = f"{theirs[size]:,.0f}/s (earlier build)" if size in theirs else ""
        table.row(f"adding device and group by {CLIENTS} clients, up to {size:,}", f"{rate:,.0f}/s", peer, f"{rate / ours[few[0]]:.2f} of the smallest", "≥ 300/s, flat")
    rows = [
        ("ten", "10 IOCs into a full MISP group of {limit:,} over {size:,} IOCs, import to published", "≤ 0.15 s, flat within 1.5", lambda s: f"{s:.3f} s"),
        ("creating", "creating a MISP group of {limit:,} over {size:,} IOCs", "≤ 2 s", lambda s: f"{s:.2f} s"),
        ("importing", "importing up to {size:,} IOCs, the last of them", "≥ 0.8 of the first", lambda rate: f"{rate:,.0f}/s"),
    ]
    for name, what, reach, show in rows:
        for size in sizes:
            ours = now[size][name]
            peer = f"{show(then[size][name])} (earlier build)" if then else ""
            slope = f"{ours / now[sizes[0]][name]:.2f} of the smallest"
            table.row(what.format(limit=limit, size=size), show(ours), peer, slope, reach)
