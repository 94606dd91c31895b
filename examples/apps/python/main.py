"""A guest book in memory: the smallest app that has something to deploy."""

import html
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

GREETING = os.environ.get("GREETING", "Hello")
entries: list[str] = []


class Page(BaseHTTPRequestHandler):
    """Shows what guests wrote, and takes what they write."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Greet, and list the entries."""
        if self.path == "/healthz":
            self.answer("ok\n")
            return
        listed = "".join(f"<li>{html.escape(entry)}</li>" for entry in entries)
        form = "<form method=post><input name=entry></form>"
        self.answer(f"<h1>{html.escape(GREETING)}</h1>{form}<ul>{listed}</ul>\n")

    def do_POST(self) -> None:
        """Add an entry."""
        size = min(int(self.headers.get("Content-Length") or 0), 10_000)
        fields = parse_qs(self.rfile.read(size).decode())
        entries.extend(entry[:200] for entry in fields.get("entry", ()))
        self.do_GET()

    def answer(self, text: str) -> None:
        """Send a page."""
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Page)
    server.serve_forever()
