"""The peers: nginx, raw SQLite, PyMISP's feed generator, medallion, OpenTAXII. Each does the same work on the same bytes or rows."""

import base64
import copy
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wrk(url: str, headers: dict, seconds: float, script: str | None = None) -> float:
    """Requests per second of one thread with 32 connections; whatever is not answered as wanted ends the bench."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s"]
    for key, value in headers.items():
        command += ["-H", f"{key}: {value}"]
    if script:
        command += ["-s", script]
    said = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        sys.exit(f"{url} answered otherwise than wanted: {said}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1))


def rotating(folder: str, users: list[tuple[str, str]], etag: str) -> str:
    """A wrk script that polls with one pair of credentials after another."""
    path = os.path.join(folder, "rotate.lua")
    pairs = ",".join('"Basic ' + base64.b64encode(f"{u}:{p}".encode()).decode() + '"' for u, p in users)
    with open(path, "w") as script:
        script.write(
            f"local pairs_ = {{{pairs}}}\nlocal n = 0\nrequest = function()\n  n = n % #pairs_ + 1\n"
            f'  return wrk.format("GET", nil, {{["Authorization"] = pairs_[n], ["If-None-Match"] = [[{etag}]]}})\nend\n'
        )
    return path


class Nginx:
    """nginx, tuned for static files, with Basic: the files are given with their ready gzip forms beside them."""

    def __init__(self, files: dict[str, bytes], users: list[tuple[str, str]]):
        self.folder = tempfile.TemporaryDirectory(prefix="iocast-bench-nginx-")
        home, self.port = self.folder.name, free_port()
        os.chmod(home, 0o755)
        for name, body in files.items():
            path = os.path.join(home, "html", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "wb").write(gzip.decompress(body))
            open(path + ".gz", "wb").write(body)
        sha = lambda text: base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
        with open(os.path.join(home, "htpasswd"), "w") as passwords:
            passwords.writelines(f"{user}:{{SHA}}{sha(password)}\n" for user, password in users)
        config = os.path.join(home, "nginx.conf")
        temp = "".join(f"{kind}_temp_path {home}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        with open(config, "w") as out:
            out.write(
                f"worker_processes auto;\npid {home}/pid;\nerror_log {home}/error.log crit;\nevents {{ worker_connections 4096; multi_accept on; }}\n"
                f"http {{\n{temp}access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000; gzip_static on;\n"
                "open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; types { application/json json; } default_type text/plain;\n"
                f"output_buffers 1 512k; server {{ listen 127.0.0.1:{self.port} reuseport; root {home}/html;\n"
                f"auth_basic iocast; auth_basic_user_file {home}/htpasswd; }} }}\n"
            )
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        subprocess.run([binary, "-p", home, "-c", config], check=True, stderr=subprocess.DEVNULL)
        self.user, self.password = users[0]

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def etag(self, name: str, gzipped: bool = False) -> str:
        headers = {"Authorization": self.basic(), **({"Accept-Encoding": "gzip"} if gzipped else {})}
        return urllib.request.urlopen(urllib.request.Request(self.url(name), headers=headers)).headers["ETag"]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        subprocess.run(["kill", open(os.path.join(self.folder.name, "pid")).read().strip()], check=True)
        time.sleep(0.2)
        self.folder.cleanup()


class RawSqlite:
    """The rows of a table of iocast's database, inserted into an empty one with the same schema and the same settings."""

    def __init__(self, database: str, table: str):
        there = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        self.schema = [sql for (sql,) in there.execute("SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL", (table,))]
        self.rows = there.execute(f"SELECT * FROM {table}").fetchall()
        there.close()
        self.insert = f"INSERT INTO {table} VALUES ({','.join('?' * len(self.rows[0]))})"

    def run(self) -> float:
        with tempfile.TemporaryDirectory(prefix="iocast-bench-raw-") as folder:
            database = sqlite3.connect(os.path.join(folder, "raw.sqlite"), isolation_level=None)
            for pragma in ["journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"]:
                database.execute(f"PRAGMA {pragma}")
            for sql in self.schema:
                database.execute(sql)
            begun = time.perf_counter()
            database.execute("BEGIN IMMEDIATE")
            database.executemany(self.insert, self.rows)
            database.execute("COMMIT")
            took = time.perf_counter() - begun
            database.close()
        return took


def pymisp_feed(events: list[dict]) -> float:
    """Seconds that PyMISP takes to write the same events as a feed, as its own generator does: one file an event, the
    manifest, the hashes. That it has to get the events from a MISP first is not counted."""
    from pymisp import MISPEvent

    loaded = []
    for event in events:
        misp_event = MISPEvent()
        # It takes what it is given apart.
        misp_event.load(copy.deepcopy(event))
        loaded.append(misp_event)
    with tempfile.TemporaryDirectory(prefix="iocast-bench-pymisp-") as folder:
        begun = time.perf_counter()
        manifest, hashes = {}, []
        for event in loaded:
            feed = event.to_feed(with_meta=True)
            hashes += [[h, event.uuid] for h in feed["Event"].pop("_hashes")]
            manifest.update(feed["Event"].pop("_manifest"))
            with open(os.path.join(folder, f"{event.uuid}.json"), "w") as out:
                json.dump(feed, out)
        with open(os.path.join(folder, "hashes.csv"), "w") as out:
            out.writelines(f"{h},{u}\n" for h, u in hashes)
        with open(os.path.join(folder, "manifest.json"), "w") as out:
            json.dump(manifest, out)
        return time.perf_counter() - begun


def taxii_page(url: str, of: str) -> float:
    """Seconds to read a page of 1,000 objects of a TAXII server with the account bench."""
    basic = "Basic " + base64.b64encode(b"bench:bench").decode()
    request = urllib.request.Request(url, headers={"Authorization": basic, "Accept": "application/taxii+json;version=2.1"})
    begun = time.perf_counter()
    count = len(json.load(urllib.request.urlopen(request, timeout=120))["objects"])
    took = time.perf_counter() - begun
    if count != 1000:
        sys.exit(f"{of} gave {count} objects, not 1000")
    return took


class Medallion:
    """The TAXII server of the OASIS committee, with its memory backend and the same objects."""

    def __init__(self, objects: list[dict]):
        self.folder = tempfile.TemporaryDirectory(prefix="iocast-bench-medallion-")
        self.port = free_port()
        collection = {
            "id": "472c94ae-3113-4e3e-a4dd-a9f4ac7471d4",
            "title": "Bench",
            "can_read": True,
            "can_write": True,
            "media_types": ["application/stix+json;version=2.1"],
            "objects": objects,
            "manifest": [
                {"id": o["id"], "date_added": "2026-01-01T00:00:00.000Z", "version": o.get("modified", o["created"]), "media_type": "application/stix+json;version=2.1"}
                for o in objects
            ],
        }
        data = {
            "/discovery": {"title": "Bench", "default": f"http://127.0.0.1:{self.port}/root/", "api_roots": [f"http://127.0.0.1:{self.port}/root/"]},
            "root": {
                "information": {"title": "Bench", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 104857600},
                "status": [],
                "collections": [collection],
            },
        }
        files = {"data.json": data}
        path = lambda name: os.path.join(self.folder.name, name)
        files["config.json"] = {
            "backend": {"module": "medallion.backends.memory_backend", "module_class": "MemoryBackend", "filename": path("data.json"), "interop_requirements": False},
            "users": {"bench": "bench"},
            "taxii": {"max_page_size": 1000},
        }
        for name, content in files.items():
            json.dump(content, open(path(name), "w"))
        medallion = os.path.join(os.path.dirname(sys.executable), "medallion")
        self.process = subprocess.Popen(
            [medallion, "--host", "127.0.0.1", "--port", str(self.port), path("config.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.page_url = f"http://127.0.0.1:{self.port}/root/collections/{collection['id']}/objects/?limit=1000"
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                time.sleep(0.1)

    def page(self) -> float:
        return taxii_page(self.page_url, "medallion")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()


class OpenTaxii:
    """OpenTAXII with SQLite, one gunicorn worker and the same objects. It checks a slow password hash at every request, and
    that is counted: it has no other way for Basic."""

    def __init__(self, objects: list[dict]):
        from opentaxii.auth.sqldb import SQLDatabaseAPI
        from opentaxii.persistence.sqldb import Taxii2SQLDatabaseAPI

        self.folder = tempfile.TemporaryDirectory(prefix="iocast-bench-opentaxii-")
        home, port = self.folder.name, free_port()
        database = {"db_connection": f"sqlite:///{home}/opentaxii.sqlite", "create_tables": True}
        secret = {"secret": "bench" * 10}
        # By its own persistence layer: a POST stores the objects too, but is answered 500 (its UUIDs do not become JSON).
        store, accounts = Taxii2SQLDatabaseAPI(**database), SQLDatabaseAPI(**database, **secret)
        root = store.add_api_root("Bench")
        collection = store.add_collection(root.id, "Bench")
        store.add_objects(root.id, collection.id, objects)
        # An account's permissions cannot name a TAXII 2 collection: one that is not public is for administrators.
        accounts.create_account("bench", "bench", is_admin=True)
        for api in (store, accounts):
            api.db.session.remove()
            api.db.engine.dispose()
        config = {
            "support_basic_auth": True,
            "auth_api": {"class": "opentaxii.auth.sqldb.SQLDatabaseAPI", "parameters": {**database, **secret}},
            "taxii1": None,
            "taxii2": {
                "title": "Bench",
                "public_discovery": False,
                "max_content_length": 104857600,
                "persistence_api": {"class": "opentaxii.persistence.sqldb.Taxii2SQLDatabaseAPI", "parameters": database},
            },
            "logging": {"root": "error", "opentaxii": "error"},
        }
        path = os.path.join(home, "config.yml")
        with open(path, "w") as out:
            # YAML understands JSON.
            json.dump(config, out)
        gunicorn = os.path.join(os.path.dirname(sys.executable), "gunicorn")
        self.process = subprocess.Popen(
            [gunicorn, "--workers", "1", "--bind", f"127.0.0.1:{port}", "--timeout", "120", "--no-control-socket", "opentaxii.http:app"],
            env={**os.environ, "OPENTAXII_CONFIG": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.page_url = f"http://127.0.0.1:{port}/taxii2/{root.id}/collections/{collection.id}/objects/?limit=1000"
        # It takes connections before it is loaded: ready is what has answered a page, as iocast has by then.
        end = time.monotonic() + 60
        while True:
            try:
                self.page()
                break
            except OSError as e:
                if isinstance(e, urllib.error.HTTPError) or self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    sys.exit(f"OpenTAXII does not serve its page: {e}")
                time.sleep(0.1)

    def page(self) -> float:
        return taxii_page(self.page_url, "OpenTAXII")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()
