"""A real Chromium, driven over its debugging pipe; it trusts what it is told to trust."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.system.harness import DEADLINE_S, eventually

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--window-size=1280,900",
    "--remote-debugging-pipe",
)
_NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"


class BrowserError(AssertionError):
    """The browser did not do what it was told, or did not answer."""


class Page:
    """One tab of a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Load a page; raises `BrowserError` with Chromium's reason, such as ERR_CERT_…."""
        until = time.monotonic() + DEADLINE_S
        # Chromium gives up what is under way when another test's containers get a network.
        while (reason := self._navigate(url)) == _NETWORK_CHANGED and time.monotonic() < until:
            pass
        if reason:
            raise BrowserError(reason)
        eventually(lambda: self.run("document.readyState") == "complete")

    def _navigate(self, url: str) -> str:
        return str(self._call("Page.navigate", url=url).get("errorText", ""))

    def run(self, script: str) -> Any:
        """Return the value of a script, awaited if it is a promise."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Return the first truthy value of a script."""
        return eventually(lambda: self.run(script))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + DEADLINE_S
        while True:
            answer = self._next(until)
            if answer.get("id") == self._number:
                break
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self, until: float) -> Any:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._from, 1 << 16) if ready else b""
            if not data:
                raise BrowserError("Chromium does not answer")
            self._rest += data
        answer, _, self._rest = self._rest.partition(b"\0")
        return json.loads(answer)


def trust(home: Path, authority: Path) -> None:
    """Let the browser of this home directory trust a CA, as its user would in the settings."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    database = f"sql:{store}"
    subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
    arguments = ["-A", "-d", database, "-n", "covey", "-t", "C,,", "-i", str(authority)]
    subprocess.run(["certutil", *arguments], check=True)


@contextmanager
def browser(home: Path) -> Iterator[Page]:
    """Give a page of a new browser whose user has this home directory."""
    program = shutil.which("chromium")
    assert program is not None, "the tests need chromium"
    home.mkdir(exist_ok=True)
    with ExitStack() as stack:
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in _pipes(stack)]
        for end in ends:
            stack.callback(os.close, end)
        log = stack.enter_context((home / "chromium.log").open("wb"))
        its_input, to_browser, from_browser, its_output = ends
        process = subprocess.Popen(
            [
                "/bin/bash",
                "-c",
                f'exec "$@" 3<&{its_input} 4>&{its_output} {its_input}<&- {its_output}>&-',
                "chromium",
                program,
                *_OPTIONS,
                f"--user-data-dir={home / 'profile'}",
            ],
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(its_input, its_output),
        )
        stack.callback(process.wait, 15)
        stack.callback(process.kill)
        yield Page(to_browser, from_browser)


def _pipes(stack: ExitStack) -> list[int]:
    ends = [*os.pipe(), *os.pipe()]
    for end in ends:
        stack.callback(os.close, end)
    return ends
