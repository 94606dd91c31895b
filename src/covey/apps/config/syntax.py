"""Host names, paths, networks, headers and cron lines, checked and normalized."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from covey.apps.config.forms import Form, show, text
from covey.apps.routing.names import (
    is_of_the_connection,
    is_read_differently,
    normal_host,
    normal_network,
    normal_path,
)
from covey.errors import InvalidRequestError

_HOST_LIMIT = 253
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", re.ASCII)
_URL_PATH = re.compile(r"/[\x21-\x7e]*", re.ASCII)
_CRON_FIELDS = 5
_CRON_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def host() -> Form:
    """Accept a host name or `*.example.org`; kept in lower case, in ASCII (IDNA)."""
    return text(parse_host, "a host name such as shop.example.org", max_length=_HOST_LIMIT)


def parse_host(value: str) -> str:
    """Normalize a host name; raises `ValueError`."""
    if "://" in value:
        raise ValueError(f"{show(value)} is a URL; write the host name alone")
    if "/" in value:
        raise ValueError(f"{show(value)} has a path; give it as path")
    if re.search(r":\d+$", value):
        raise ValueError(f"{show(value)} has a port; the proxy's ports are in covey.toml")
    if is_read_differently(value):
        raise ValueError(
            f"{show(value)} is read as one host by some programs and as another by others;"
            " write it in its ASCII form, which begins with xn--"
        )
    wrong = f"{show(value)} is not a host name such as shop.example.org"
    try:
        plain = normal_host(value)
    except InvalidRequestError as error:
        raise ValueError(wrong) from error
    if ":" in plain or value != value.strip() or value.endswith(".."):
        raise ValueError(wrong)
    return plain


def redirect_target() -> Form:
    """Accept a host name or an http or https URL; kept as a URL."""

    def check(value: str) -> str:
        if "://" not in value:
            return f"https://{parse_host(value)}"
        return _url(value)

    return text(check, "a host name, or a URL such as https://example.org/shop", max_length=2048)


def place() -> Form:
    """Accept a path on the same site such as `/new`, or a URL."""

    def check(value: str) -> str:
        return _url(value) if "://" in value else _url_path(value)

    return text(check, "a path such as /new, or a URL", max_length=2048)


def url_path() -> Form:
    """Accept the path of a URL."""
    return text(_url_path, "a path such as /healthz", max_length=2048, pattern="^/")


def route_path() -> Form:
    """Accept a path below which a route answers; kept without a slash at its end."""

    def check(value: str) -> str:
        path = _url_path(value)
        try:
            return normal_path(path)
        except InvalidRequestError as error:
            raise ValueError(
                f"{show(value)} cannot be the path of a route: it has no *, %, .. or //"
            ) from error

    return text(check, "a path such as /api", max_length=1024, pattern="^/")


def source_path() -> Form:
    """Accept a relative path that stays in the source; kept in normal form."""
    return text(_source_path, "a path in the source", max_length=1024)


def _source_path(value: str) -> str:
    path = posixpath.normpath(value.replace("\\", "/"))
    if not value.strip():
        raise ValueError('it is empty; write "." for the whole source')
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"{show(value)} is absolute; it is a path within the source")
    if path == ".." or path.startswith("../"):
        raise ValueError(f"{show(value)} leads out of the source")
    return path


def container_path() -> Form:
    """Accept an absolute path in a container, other than its root."""

    def check(value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(f"{show(value)} is not an absolute path in the container")
        path = posixpath.normpath("/" + value.lstrip("/"))
        if path == "/":
            raise ValueError("a volume cannot take the place of the whole file system")
        if ":" in path or "," in path:
            raise ValueError(f"{show(value)} contains a colon or comma")
        return path

    return text(check, "an absolute path in the container", max_length=1024, pattern="^/")


def network() -> Form:
    """Accept an address or network; kept as a network such as `10.0.0.0/8`."""

    def check(value: str) -> str:
        try:
            return str(ipaddress.ip_network(normal_network(value)))
        except InvalidRequestError as error:
            raise ValueError(
                f"{show(value)} is not an address or network such as 10.0.0.0/8"
            ) from error

    return text(check, "an address or network such as 10.0.0.0/8", max_length=100)


def header_name() -> Form:
    """Accept the name of a header (RFC 9110 token) that an answer may be given."""

    def check(value: str) -> str:
        if not _TOKEN.fullmatch(value):
            raise ValueError(f"{show(value)} is not the name of a header")
        if is_of_the_connection(value):
            raise ValueError(f"{value} belongs to the connection, which the proxy decides")
        return value

    return text(check, "the name of a header", max_length=100)


def header_value() -> Form:
    """Accept the value of a header, on one line."""

    def check(value: str) -> str:
        if not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value):
            raise ValueError("it contains a line break or a character that headers cannot have")
        return value.strip()

    return text(check, "text on one line", max_length=8192)


def password_hash() -> Form:
    """Accept the bcrypt hash of a password, never the password."""

    def check(value: str) -> str:
        if not _BCRYPT.fullmatch(value):
            # The value may be the password itself: it must not be told.
            raise ValueError("it is not a bcrypt hash; make one with: htpasswd -nBC 12 NAME")
        return value

    return text(check, "the bcrypt hash of a password", max_length=60)


def cron() -> Form:
    """Accept five cron fields or `@daily` and the like; kept as five fields."""
    return text(parse_cron, 'five cron fields such as "*/5 * * * *", or "@daily"', max_length=200)


def parse_cron(value: str) -> str:
    """Normalize a cron line; raises `ValueError`."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only files with [cron] need it

    fields = _CRON_NAMES.get(value.strip().lower(), value).split()
    if len(fields) != _CRON_FIELDS:
        raise ValueError(f"{show(value)} has {len(fields)} fields instead of five")
    try:
        CronSim(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError) as error:
        reason = str(error).removeprefix("Bad ") if isinstance(error, CronSimError) else "number"
        raise ValueError(f"{show(value)} is no cron line: its {reason} is wrong") from error
    return " ".join(fields)


def zone() -> Form:
    """Accept the name of a time zone."""

    def check(value: str) -> str:
        import zoneinfo  # noqa: PLC0415 - only files with [cron] need it

        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{show(value)} is not a time zone such as Europe/Berlin") from error
        return value

    return text(check, "a time zone such as Europe/Berlin", max_length=100)


def status_range() -> Form:
    """Accept an HTTP status such as 204 or a range such as `200-399`; kept as a range."""
    label = 'a status such as 204, or a range such as "200-399"'

    def read(value: object) -> str:
        given = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        match = (
            re.fullmatch(r"(\d{3})(?:\s*-\s*(\d{3}))?", given) if isinstance(given, str) else None
        )
        if match is None:
            raise ValueError(f"{show(value)} is not {label}")
        low, high = int(match[1]), int(match[2] or match[1])
        if not 100 <= low <= high <= 599:  # noqa: PLR2004 - RFC 9110, section 15
            raise ValueError(f"{show(value)} is not within 100 to 599")
        return f"{low}-{high}"

    return Form(label, read, {"type": ["integer", "string"], "pattern": r"^\d{3}(-\d{3})?$"}, read)


def variable_value() -> Form:
    """Accept what a variable is set to: text, a whole number, true or false; kept as text."""

    def read(value: object) -> str:
        match value:
            case bool():
                return str(value).lower()
            case int():
                return str(value)
            case str() if "\0" in value:
                raise ValueError("it contains a NUL character")
            case str():
                return value
            case float():
                raise ValueError("a fraction could be changed by reading it; write it in quotes")
            case _:
                raise ValueError(f"{show(value)} is not text in quotes")

    schema = {"type": ["string", "integer", "boolean"]}
    return Form("text, a whole number, true or false", read, schema, read)


def _url_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{show(value)} does not start with /")
    if not _URL_PATH.fullmatch(value):
        raise ValueError(f"{show(value)} has a blank or a character that a URL cannot have")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{show(value)} is not a URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"{show(value)} is not a URL that starts with https:// or http://")
    if not re.fullmatch(r"[\x21-\x7e]*", value.removeprefix(parts.scheme + "://" + parts.netloc)):
        raise ValueError(f"{show(value)} has a blank or a character that a URL cannot have")
    name = parse_host(parts.hostname) + (f":{port}" if port else "")
    return parts._replace(netloc=name).geturl()
