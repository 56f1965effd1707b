"""A TAXII 2.1 server of the standard's authors: medallion with two objects a page.

usage: taxii_server.py; prints its port, then serves until its standard input ends.
"""

import json
import socket
import sys
import threading

from medallion import application_instance, register_blueprints, set_config
from medallion.backends.memory_backend import MemoryBackend
from werkzeug.serving import make_server

COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
data = {
    "/discovery": {"title": "Test", "api_roots": ["http://127.0.0.1/root/"]},
    "root": {
        "information": {"title": "Root", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 10_000_000},
        "status": [],
        "collections": [
            {
                "id": COLLECTION,
                "title": "Indicators",
                "can_read": True,
                "can_write": True,
                "media_types": ["application/stix+json;version=2.1"],
                "objects": [],
                "manifest": [],
            }
        ],
    },
}
config = {"users": {"reader": "lamp river seven"}, "taxii": {"max_page_size": 2}, "backend": {"module_class": "MemoryBackend"}}
set_config(application_instance, "users", config)
set_config(application_instance, "taxii", config)
backend = MemoryBackend()
backend.data = data
application_instance.medallion_backend = backend
register_blueprints(application_instance)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = make_server("127.0.0.1", port, application_instance, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": port, "collection": COLLECTION}), flush=True)
sys.stdin.read()
