"""A TAXII 2.0 server of the standard's authors: medallion 1.1 with two objects a page.

usage: taxii20_server.py; prints its port, then serves until its standard input ends. Its medallion lies beside the newer one, in the
folder `taxii20` of the virtual environment.
"""

import json
import pathlib
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(sys.prefix) / "taxii20"))

import medallion
from flask import Flask
from medallion.backends.taxii.memory_backend import MemoryBackend
from werkzeug.security import generate_password_hash
from werkzeug.serving import make_server

COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
app = Flask("medallion")
backend = MemoryBackend()
backend.data = {
    "/discovery": {"title": "Test", "api_roots": ["http://127.0.0.1/root/"]},
    "root": {
        "information": {"title": "Root", "versions": ["taxii-2.0"], "max_content_length": 10_000_000},
        "status": [],
        "collections": [
            {
                "id": COLLECTION,
                "title": "Indicators",
                "can_read": True,
                "can_write": True,
                "media_types": ["application/vnd.oasis.stix+json; version=2.0"],
                "objects": [],
                "manifest": [],
            }
        ],
    },
}
users = {"reader": generate_password_hash("lamp river seven", method="pbkdf2:sha256:1000")}
medallion.set_multi_auth_config("basic", "basic")
medallion.set_auth_config(app, {"module": "medallion.backends.auth.memory_auth", "module_class": "AuthMemoryBackend", "users": users, "api_keys": {}})
medallion.set_taxii_config(app, {"max_page_size": 2})
app.medallion_backend = backend
medallion.register_blueprints(app)
medallion.register_error_handlers(app)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = make_server("127.0.0.1", port, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": port, "collection": COLLECTION}), flush=True)
sys.stdin.read()
