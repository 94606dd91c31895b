"""What people are told about mistakes, word for word, as kept in mistakes.txt.

COVEY_REFRESH_GOLDEN=1 writes the file anew; then read what changed.
"""

from __future__ import annotations

import os
from pathlib import Path

from covey.apps.config.load import parse_app_file
from covey.apps.config.merge import effective
from tests.apps.config.texts import refusal

GOLDEN = Path(__file__).with_name("mistakes.txt")
MISTAKES = (
    "app = shop",
    "app: shop",
    'port = "8080"',
    "port = 80800",
    "prot = 8080",
    "replicas = 3",
    '[healthcheck]\npath = "/"',
    '[deploy]\nreplica = 3\n\n[resources]\nmemory = "lots"',
    '[deploy]\nstrategy = "canary"',
    '[deploy]\nstrategy = "recreate"\nreplicas = 2',
    '[[domains]]\nhost = "straße.example"',
    '[[domains]]\nhost = "1.2.3.4.5"',
    '[[domains]]\nhost = " shop.example"',
    '[[domains]]\nhost = "shop.example.."',
    '[[domains]]\nhost = "a*.bücher.example"',
    '[[domains]]\nhost = "a.example"\npath = "/api/*"',
    '[[domains]]\nhost = "a.example"\npath = "/b"\n[[domains]]\nhost = "a.example"\npath = "/b/"',
    '[proxy.headers]\nTE = "x"',
    '[deploy]\nhealthcheck = "healthz"',
    '[deploy]\nhealthcheck = { path = "/up", tcp = true }',
    "[deploy]\nhealthcheck = { port = 80 }",
    '[deploy]\nhealthcheck = { command = "true", status = 204 }',
    '[deploy]\nhealthcheck = "/"\nhealthcheck_timeout = "1s"\n\n[deploy.git]\nbranch = ""',
    '[deploy]\ndrain = "half a minute"',
    '[deploy]\nhealthcheck = { path = "/up", interval = "2m" }',
    '[processes]\nWorker = "work"',
    "[processes]\nworker = { replicas = 2 }",
    '[processes]\nworker = { command = "work", memory = "1g" }',
    '[processes]\nworker = ["work"]',
    "[resources]\nmemory = 256",
    '[resources]\ncpu = "half"',
    "[env]\nVERSION = 1.10",
    "[env]\nPORT = 3000",
    '[env]\n"a b" = "c"',
    '[volumes]\nname = "data"',
    '[[volumes]]\nname = "data"',
    '[[volumes]]\nname = "a"\npath = "/data"\n\n[[volumes]]\nname = "b"\npath = "/data/"',
    '[[volumes]]\nname = "all"\npath = "/"',
    '[[domains]]\nhost = "https://shop.example.org"',
    '[[domains]]\nhost = "shop.example.org/cart"',
    '[[domains]]\nhost = "shop.example.org:8443"',
    '[[domains]]\nhost = "shop example"',
    '[[domains]]\nhost = "a.example"\n[[domains]]\nhost = "A.example"',
    'domains = [\n  { host = "a", canonical = true },\n  { host = "b", canonical = true },\n]',
    '[[domains]]\nhost = "*.a.example"\ncanonical = true',
    '[[domains]]\nhost = "a.example"\nstrip = true',
    '[build]\nstatic = "dist"\n\n[processes]\nweb = "serve"',
    '[build]\ndockerfile = "/etc/Dockerfile"',
    '[build]\ncontext = "../other"',
    '[build]\nsecrets = "NPM_TOKEN"',
    '[cron]\ntidy = { schedule = "* * *", command = "tidy" }',
    '[cron]\ntidy = { schedule = "61 * * * *", command = "tidy" }',
    '[cron]\ntidy = { schedule = "@daily", command = "tidy", zone = "Berlin" }',
    '[cron]\ntidy = "@daily tidy"',
    '[proxy]\nbasic_auth = { ann = "hunter2" }',
    '[proxy]\nallow_from = ["office"]',
    '[proxy]\nheaders = { "Content-Length" = "1" }',
    '[proxy]\nredirects = [{ from = "old", to = "/new" }]',
    '[proxy]\nmax_body = "unlimited"',
)


def told(text: str) -> str:
    return refusal(lambda: effective(parse_app_file(text)))


def page() -> str:
    return "\n\n".join(f"{text}\n{'-' * 20}\n{told(text)}" for text in MISTAKES) + "\n"


def test_what_is_told_about_mistakes() -> None:
    found = page()
    if os.environ.get("COVEY_REFRESH_GOLDEN"):
        GOLDEN.write_text(found, "utf-8")
    assert found == GOLDEN.read_text("utf-8")


def test_a_password_is_never_told() -> None:
    text = f"[proxy]\nbasic_auth = {{ ann = {'hunter2'!r} }}"
    assert "hunter2" not in told(text)


def test_several_mistakes_are_told_at_once() -> None:
    found = told('port = 0\n[deploy]\ndrian = 1\n[resources]\ncpu = "x"')
    assert found.startswith("covey.app.toml has 3 problems:\n  line 1: ")
    assert "\n  line 3: there is no key deploy.drian. Did you mean deploy.drain?" in found
