"""A fresh iocast in a folder of its own, made-up IOCs, and what the benches do to it."""

import base64
import hashlib
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid


class Server:
    """A server in a process of its own; it can be stopped and started again on its folder."""

    def __init__(self, binary: str):
        self.binary = binary
        self.folder = tempfile.TemporaryDirectory(prefix="iocast-bench-")
        self.database = os.path.join(self.folder.name, "iocast.sqlite")
        said = self.start()
        word = lambda name: re.search(name + r"\s+(\S+)", said).group(1)
        self.account, self.key = word("account ID"), word("appliance key")
        self.token = self.call("POST", "/api/v1/sessions", {"email": word("administrator"), "password": word("password")})["token"]

    def start(self) -> str:
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data", self.folder.name, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        said = ""
        while "iocast listens" not in said:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("the server did not start")
            said += line
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", said).group(1))
        return said

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def stop(self) -> None:
        self.end()
        self.folder.cleanup()

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

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.account}:{self.key}".encode()).decode()

    def feed(self, url: str, name: str, headers: dict | None = None):
        return self.raw("GET", f"{urllib.parse.urlparse(url).path}/{name}".rstrip("/"), None, {"Authorization": self.basic(), **(headers or {})})

    def at(self, url: str) -> str:
        """A group's URL on the present port."""
        return f"http://127.0.0.1:{self.port}{urllib.parse.urlparse(url).path}"

    def source(self) -> str:
        return self.call("POST", "/api/v1/sources", {"name": "Bench", "confidence": 2})["id"]

    def group(self, of_type: str, **more) -> tuple[str, str]:
        """A device of the type with a group: its URL and id."""
        name = f"Bench {of_type.replace('-', ' ')} {uuid.uuid4().hex[:12]}"
        device = self.call("POST", "/api/v1/devices", {"name": name, "device_type": of_type})["id"]
        group = self.call("POST", f"/api/v1/devices/{device}/groups", {"name": name, **more})
        return group["url"], group["id"]

    def load(self, source: str, body: bytes) -> float:
        """Imports, and gives how long the answer took."""
        begun = time.perf_counter()
        self.call("POST", f"/api/v1/sources/{source}/iocs", body)
        return time.perf_counter() - begun

    def published(self, group: str) -> int:
        return self.call("GET", f"/api/v1/groups/{group}")["published"]

    def wait_published(self, group: str, count: int) -> None:
        while self.published(group) != count:
            time.sleep(0.005)

    def wait_served(self, url: str, name: str, wanted) -> tuple:
        """Waits until a file is as `wanted` says of its bytes: what is published is served a moment later."""
        while not wanted(self.feed(url, name)[1]):
            time.sleep(0.05)
        return self.feed(url, name, {"Accept-Encoding": "gzip"})

    def memory(self, which: str) -> float:
        """MiB: `VmHWM` is the peak, `VmRSS` what is held now."""
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(which + r":\s+(\d+)", status).group(1)) / 1024

    def peak_mib(self) -> float:
        return self.memory("VmHWM")

    def reset_peak(self) -> None:
        open(f"/proc/{self.process.pid}/clear_refs", "w").write("5")

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def copies(database: sqlite3.Connection, table: str, template: dict, rows) -> None:
    """Writes copies of a row, each with some columns of its own."""
    columns = list(template)
    sql = f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"
    database.executemany(sql, ([{**template, **own}[c] for c in columns] for own in rows))


def row_of(database: sqlite3.Connection, table: str, where: str, values=()) -> dict:
    cursor = database.execute(f"SELECT * FROM {table} WHERE {where}", values)
    return dict(zip([c[0] for c in cursor.description], cursor.fetchone()))


def add_devices(server: Server, count: int) -> list[str]:
    """Writes devices and as many appliance keys into a stopped server's database, for want of an afternoon: through the API
    it is two calls each. Gives the keys."""
    import blake3

    pepper = bytes.fromhex(json.load(open(os.path.join(server.folder.name, "secrets.json")))["pepper"])
    database = sqlite3.connect(server.database)
    device = row_of(database, "devices", "1")
    key = row_of(database, "keys", "kind = 2")
    new = lambda: uuid.uuid4().bytes if isinstance(device["id"], bytes) else str(uuid.uuid4())
    secrets = [f"iak_{hashlib.sha256(f'key {i}'.encode()).hexdigest()}" for i in range(count)]
    copies(database, "devices", device, ({"id": new(), "name": f"Fleet {i}", "folded": f"fleet {i}"} for i in range(count)))
    copies(database, "keys", key, ({"id": new(), "hash": blake3.blake3(s.encode(), key=pepper).hexdigest()} for s in secrets))
    database.execute("INSERT INTO settings (name, value) VALUES ('keys_version', '1') ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1")
    database.commit()
    database.close()
    return secrets


def iocs(count: int, offset: int = 0, **more) -> bytes:
    """Made-up IOCs of all kinds with enrichment, in iocast's own JSON."""
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
                "user_tags": [f"case-{i % 50}", f"g{i % 1000}"],
                "system_tags": ["phishing"],
                "threat_actors": [f"Actor {i % 40}"],
                "malware_families": [f"Family {i % 200}"],
                "campaigns": [f"Campaign {i % 20}"],
                **more,
            }
        )
    return json.dumps(out).encode()


def domains(count: int, offset: int = 0, **more) -> bytes:
    return json.dumps([{"value": f"host{i}.evil.example", "severity": "high", **more} for i in range(offset, offset + count)]).encode()
