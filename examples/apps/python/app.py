"""A guest book in memory: the smallest app that has something to deploy."""

import html
import os

from flask import Flask, request

app = Flask(__name__)
entries: list[str] = []


@app.get("/")
def page() -> str:
    """Greet, and list what guests wrote."""
    greeting = html.escape(os.environ.get("GREETING", "Hello"))
    listed = "".join(f"<li>{html.escape(entry)}</li>" for entry in entries)
    return f"<h1>{greeting}</h1><form method=post><input name=entry></form><ul>{listed}</ul>\n"


@app.post("/")
def write() -> str:
    """Add an entry."""
    entries.append(request.form["entry"][:200])
    return page()


@app.get("/healthz")
def healthy() -> str:
    """Tell that the app works."""
    return "ok\n"
