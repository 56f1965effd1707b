"""A list behind OAuth2 and TLS with client certificates.

usage: secure_list.py CERT KEY CLIENT_CA; prints its port, then serves until its standard input ends.
POST /token gives a token for the client "iocast" with "lamp river seven"; GET /list.txt wants it.
"""

import json
import ssl
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def answer(self, status: int, body: str):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        known = (form.get("grant_type"), form.get("client_id"), form.get("client_secret"), form.get("scope")) == (
            "client_credentials", "iocast", "lamp river seven", "lists.read"
        )
        if self.path == "/token" and known:
            return self.answer(200, json.dumps({"access_token": "token-1", "token_type": "Bearer", "expires_in": 60}))
        self.answer(401, json.dumps({"error": "invalid_client", "sent": form.get("client_secret")}))

    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer token-1":
            return self.answer(401, "no token")
        self.answer(200, "secure.example\n")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_address[1]}), flush=True)
sys.stdin.read()
