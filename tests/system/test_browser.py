"""Clients that know nothing of Covey: a browser, curl and openssl, on the port that peers use."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.browser import BrowserError, Page, browser, trust
from tests.system.harness import Fleet, Node, eventually

_CARD = 'document.getElementById("{}")'
_SEND = """(() => {
  const card = document.getElementById("OPERATION");
  card.open = true;
  return new Promise((done) => setTimeout(() => {
    card.querySelector("details.try").open = true;
    for (const [name, value] of Object.entries(VALUES)) {
      card.querySelector(`[id="OPERATION-${name}"]`).value = value;
    }
    card.querySelector("form").requestSubmit();
    done(true);
  }));
})()"""


def authority_of(node: Node, directory: Path) -> Path:
    """Write the fleet's CA into a file, as its users do."""
    path = directory / "fleet.pem"
    path.write_text(node.out("fleet", "authority"))
    return path


def send(operation: str, **values: str) -> str:
    """Return the script that fills in an operation's form and sends it."""
    return _SEND.replace("OPERATION", operation).replace("VALUES", json.dumps(values))


def show(page: Page, url: str) -> bool:
    """Open the page of the API; False if the network changed while it loaded."""
    page.open(url)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if page.run('document.querySelectorAll("details.operation").length > 20'):
            return True
    return False


def answer_to(page: Page, operation: str, **values: str) -> dict[str, Any]:
    """Send an operation's form and return the answer; again if the network changed meanwhile."""
    answer = f'{_CARD.format(operation)}.querySelector(".answer")'
    while True:
        page.run(f"{answer} && {answer}.replaceChildren()")
        page.run(send(operation, **values))
        text = page.wait_for(f'{answer}?.querySelector("pre, p.bad")?.textContent')
        if text != "The node did not answer.":
            return json.loads(page.wait_for(f'{answer}.querySelector("pre")?.textContent'))


def test_a_browser_that_trusts_the_authority_shows_and_tries_the_api(
    fleet: Fleet, tmp_path: Path
) -> None:
    freya = fleet.founder("freya")
    freya.run("env", "set", "GREETING=hello")
    token = freya.out("token", "create", "page", "--role", "developer")
    home = tmp_path / "home"
    trust(home, authority_of(freya, tmp_path))
    with browser(home) as page:
        eventually(lambda: show(page, f"https://localhost:{freya.port}/docs"))
        assert page.run("location.protocol") == "https:"
        assert page.run("document.title") == "Covey API"
        assert page.run('document.querySelector("main").textContent').count("undefined") == 0
        found = answer_to(page, "env.get", name="GREETING")
        assert found["error"]["code"] == "unauthenticated"
        page.run(f'document.getElementById("token").value = {json.dumps(token)}')
        assert answer_to(page, "env.get", name="GREETING")["name"] == "GREETING"
        assert token not in page.run("document.documentElement.outerHTML")


def test_a_browser_that_was_not_told_refuses_the_authority(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    with (
        browser(tmp_path / "home") as page,
        pytest.raises(BrowserError, match="ERR_CERT_AUTHORITY_INVALID"),
    ):
        page.open(f"https://localhost:{freya.port}/docs")


def test_curl_and_openssl_accept_the_certificate(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya", COVEY_SERVER_ADVERTISE="cloud.example:13500")
    authority = str(authority_of(freya, tmp_path))
    port = freya.port

    def health(name: str) -> subprocess.CompletedProcess[str]:
        url = f"https://{name}:{port}/health"
        to_node = f"{name}:{port}:127.0.0.1:{port}"
        command = ["curl", "-fsS", "--noproxy", "*", "--cacert", authority]
        return subprocess.run(
            [*command, "--connect-to", to_node, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    for name in ("127.0.0.1", "localhost"):
        done = health(name)
        assert json.loads(done.stdout)["status"] == "ok", done.stderr
    eventually(lambda: health("cloud.example").returncode == 0)
    assert "no alternative certificate subject name" in health("elsewhere.example").stderr
    checked = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", authority),
            *("-verify_return_error", "-verify_ip", "127.0.0.1", "-x509_strict"),
        ],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "Verify return code: 0 (ok)" in checked
    assert "Peer signature type: ECDSA" in checked
