"""A command on several hosts at the same time: lines labelled, or all of it as JSON."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import Any

from covey.client.failure import CallFailedError
from covey.client.target import HostAnswer, HostError
from covey.errors import CoveyError
from covey.surfaces.cli.exec_failure import announce, as_error, fallback
from covey.surfaces.cli.fan_out import summarize
from covey.surfaces.cli.light.conversation import STDERR, STDOUT, Conversation, LeftError
from covey.surfaces.cli.light.exec_call import ROUTE, Ending, ExecCall
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.socket_client import open_call
from covey.surfaces.cli.ssh import line_of
from covey.surfaces.cli.terminal import one_line, paint

_CHANNELS = {"stdout": STDOUT, "stderr": STDERR}
_LONGEST_LINE = 64 << 10
_BY_SSH = "ssh"


@dataclass(slots=True)
class _Host:
    """What is known of one host's command; `parts` are lines without their end yet."""

    name: str
    parts: dict[int, bytearray] = field(default_factory=dict)
    whole: dict[int, bytearray] = field(default_factory=dict)
    began: bool = False
    ending: Ending | None = None
    error: CallFailedError | None = None
    route: str = ""
    ms: float = 0.0


def run_on_hosts(session: Session, wanted: ExecCall) -> int:
    """Run a command on the hosts of the options, and return the exit status for all of it."""
    if wanted.tty:
        raise CoveyError("--tty works with one host.", hint="Leave it out, or name one host.")
    return _Run(session, wanted).run()


class _Run:
    """One run. With `--json` the output is kept to the end, else it is shown line by line."""

    def __init__(self, session: Session, wanted: ExecCall) -> None:
        self._session = session
        self._output = session.output
        self._wanted = wanted
        self._hosts: dict[str, _Host] = {}
        self._single = not session.target.several
        call, headers = open_call(session)
        self._call = call
        self._headers = headers
        self._talk = Conversation(call, reads_input=not wanted.no_stdin)

    def run(self) -> int:
        try:
            self._call.begin(ROUTE, self._headers, self._wanted.arguments(os.environ))
            self._talk.run(self._take)
        except LeftError as left:
            return left.status
        except CallFailedError as error:
            if not self._single:
                raise as_error(error) from error
            self._host(self._wanted.host or "").error = error
        finally:
            self._call.close()
        for host in self._hosts.values():
            if host.error is not None and not self._talk.had_input:
                self._try_ssh(host, host.error)
        return self._finish()

    def _take(self, item: Any) -> None:
        if self._single:
            self._take_value(self._host(self._wanted.host or ""), item)
            return
        host = self._host(str(item["host"]))
        host.route, host.ms = item["route"], item["ms"]
        if item["error"] is not None:
            host.error = CallFailedError.from_envelope(item["error"])
            host.error.begun = host.began
            self._flush(host)
        elif item["value"] is not None:
            self._take_value(host, item["value"])

    def _take_value(self, host: _Host, value: Any) -> None:
        match value["type"]:
            case "started":
                host.began = True
                self._talk.begin_input()
            case "stdout" | "stderr":
                self._add(host, _CHANNELS[value["type"]], value["data"])
            case "exited":
                host.ending = Ending.of(value)
                self._flush(host)
            case _:
                pass

    def _host(self, name: str) -> _Host:
        return self._hosts.setdefault(name, _Host(name))

    def _add(self, host: _Host, channel: int, data: bytes) -> None:
        if self._output.as_json:
            host.whole.setdefault(channel, bytearray()).extend(data)
            return
        part = host.parts.setdefault(channel, bytearray())
        part += data
        *lines, rest = bytes(part).split(b"\n")
        part[:] = rest
        if len(part) > _LONGEST_LINE:
            lines.append(bytes(part))
            part.clear()
        label = self._label(host, channel)
        self._talk.write(channel, b"".join(b"%b%b\n" % (label, line) for line in lines))

    def _flush(self, host: _Host) -> None:
        for channel, part in host.parts.items():
            if part:
                self._talk.write(channel, self._label(host, channel) + bytes(part) + b"\n")
                part.clear()

    def _label(self, host: _Host, channel: int) -> bytes:
        colour = self._output.colour if channel == STDOUT else self._output.colour_errors
        return f"{paint(f'{one_line(host.name)}:', 'cyan', colour=colour)} ".encode()

    def _try_ssh(self, host: _Host, error: CallFailedError) -> None:
        session = self._session
        address = fallback(session, host.name, error)
        if address is None or session.locals.ssh is None:
            return
        announce(session, host.name, error, address)
        try:
            found = session.locals.ssh().capture(address.parts, line_of(self._wanted))
        except CoveyError as failure:
            host.error = CallFailedError(
                failure.code, failure.message, failure.hint, exit_code=int(failure.exit_code)
            )
            return
        host.error, host.route, host.ending = None, _BY_SSH, Ending(found[0])
        for channel, data in ((STDOUT, found[1]), (STDERR, found[2])):
            if self._output.as_json:
                host.whole[channel] = bytearray(data)
                continue
            for line in data.splitlines():
                os.write(channel, self._label(host, channel) + line + b"\n")

    def _finish(self) -> int:
        output = self._output
        if output.as_json:
            told = [_told(host) for host in self._hosts.values()]
            output.json(told[0] if self._single and told else told)
        else:
            self._show_failures(output)
        failed = [host for host in self._hosts.values() if _status(host) != 0]
        return _status(min(failed, key=lambda host: host.ms)) if failed else 0

    def _show_failures(self, output: Output) -> None:
        for host in self._hosts.values():
            if host.error is not None:
                failure = as_error(host.error, host.name)
                failure.message = f"{one_line(host.name)}: {failure.message}"
                output.error(failure)
        answers = [
            HostAnswer(
                host.name,
                _status(host) == 0,
                error=None if host.error is None else _as_host_error(host.error),
                route=host.route,
                ms=host.ms,
            )
            for host in self._hosts.values()
        ]
        results = {host.name: _said(host) for host in self._hosts.values()}
        summarize(output, answers, results)


def _as_host_error(error: CallFailedError) -> HostError:
    return HostError(error.code, error.message, error.hint, error.details, error.exit_code)


def _status(host: _Host) -> int:
    if host.error is not None:
        return host.error.exit_code
    return 1 if host.ending is None else host.ending.status


def _said(host: _Host) -> str:
    status = _status(host)
    if status == 0:
        return "ok"
    if host.ending is not None and host.ending.note:
        return host.ending.note.rstrip(".")
    return f"exit status {status}"


def _told(host: _Host) -> dict[str, Any]:
    told: dict[str, Any] = {
        "host": host.name or None,
        "ok": _status(host) == 0,
        "status": None if host.ending is None else host.ending.status,
    }
    for name, channel in _CHANNELS.items():
        data = bytes(host.whole.get(channel, b""))
        try:
            told[name] = data.decode()
        except UnicodeDecodeError:
            told[name] = None
            told[f"{name}_base64"] = base64.b64encode(data).decode()
    error = host.error
    told["error"] = (
        None
        if error is None
        else {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "details": error.details,
        }
    )
    if host.route:
        told["route"], told["ms"] = host.route, host.ms
    return told
