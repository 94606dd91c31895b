"""The parts of a route that users write: hosts, paths, networks, headers, addresses."""

from __future__ import annotations

import ipaddress
import re

from covey.errors import InvalidRequestError

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_LONGEST_HOST = 253
_READ_DIFFERENTLY = re.compile("[\u00df\u03c2\u200c\u200d]")
"""What IDNA 2003 replaces and IDNA 2008 keeps (UTS 46, 4)."""
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/-]*")
_LONGEST_PATH = 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\uffff]*")
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/+:-]{0,119}")
_REST = r"[^\s{}\"<>\\]*"
_TARGET = re.compile(
    rf"https?://[^\s/{{}}\"<>\\?#]+(?P<rest>[/?#]{_REST})?|(?P<path>/(?!/){_REST})"
)
_LARGEST_PORT = 65_535
_MAPPED_BITS = 96
_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


def normal_host(host: str) -> str:
    """Return a host in lower case, in ASCII; raises `InvalidRequestError`."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    text = host.strip().rstrip(".").lower()
    if is_read_differently(text):
        raise InvalidRequestError(
            f"{host!r} is read as one host by some programs and as another by others.",
            hint="Write it in its ASCII form, which begins with xn--",
        )
    if not text.isascii():
        star = "*." if text.startswith("*.") else ""
        try:
            text = star + text.removeprefix(star).encode("idna").decode()
        except UnicodeError as error:
            raise _bad_host(host) from error
    if len(text) > _LONGEST_HOST or _HOST.fullmatch(text) is None:
        raise _bad_host(host)
    if text.rsplit(".", 1)[-1].isdigit():
        raise _bad_host(host)
    return text


def is_read_differently(host: str) -> bool:
    """Whether programs turn the host into different ASCII forms."""
    return _READ_DIFFERENTLY.search(host) is not None


def normal_path(path: str) -> str:
    """Return a path prefix without a slash at its end; raises `InvalidRequestError`."""
    segments = path.split("/")
    if (
        len(path) > _LONGEST_PATH
        or _PATH.fullmatch(path) is None
        or "//" in path
        or "." in segments
        or ".." in segments
        or "%" in path
    ):
        raise InvalidRequestError(
            f"{path!r} cannot be the path of a route.",
            hint="Write it like /api: it begins with a slash and has no *, %, .. or //.",
        )
    return path.rstrip("/") or "/"


def normal_network(network: str) -> str:
    """Return an address or a network in CIDR notation; raises `InvalidRequestError`.

    Clients with IPv4 addresses are always seen as such, so networks that are mapped into IPv6
    (RFC 4291, 2.5.5.2) become what they stand for.
    """
    try:
        found = ipaddress.ip_network(network.strip(), strict=False)
    except ValueError as error:
        raise InvalidRequestError(
            f"{network!r} is no network.", hint="Write it like 192.0.2.0/24 or 2001:db8::/32."
        ) from error
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped is not None and found.prefixlen >= _MAPPED_BITS:
        found = ipaddress.ip_network((mapped, found.prefixlen - _MAPPED_BITS))
    return str(found.network_address if found.num_addresses == 1 else found)


def check_header(name: str, value: str) -> None:
    """Refuse a header that cannot be sent, or that belongs to the connection (RFC 9110)."""
    if _TOKEN.fullmatch(name) is None or is_of_the_connection(name):
        raise InvalidRequestError(
            f"A route cannot set the header {name!r}.",
            hint="Give the name of a response header, such as Cache-Control.",
        )
    if _HEADER_VALUE.fullmatch(value) is None:
        raise InvalidRequestError(
            f"The value of the header {name} has characters that cannot be sent.",
            hint="Leave out line breaks and control characters.",
        )


def is_of_the_connection(header: str) -> bool:
    """Whether a header is the proxy's to decide (RFC 9110, 7.6.1)."""
    return header.lower() in _OF_THE_CONNECTION


def check_address(address: str) -> None:
    """Refuse what is not `host:port`."""
    found = _ADDRESS.fullmatch(address)
    if found is not None and 0 < int(found["port"]) <= _LARGEST_PORT:
        return
    raise InvalidRequestError(
        f"{address!r} is no address to send requests to.",
        hint="Write it as HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080.",
    )


def check_pool(name: str) -> None:
    """Refuse a pool's name that is too long or holds odd characters."""
    if _POOL.fullmatch(name) is None:
        raise InvalidRequestError(
            f"{name!r} cannot be the name of a pool.",
            hint="Use up to 120 letters, digits and . _ @ / + : -",
        )


def check_redirect(target: str) -> None:
    """Refuse what is no http or https URL, nor a path of the same host."""
    if _TARGET.fullmatch(target) is None:
        raise InvalidRequestError(
            f"{target!r} is no URL to redirect to.",
            hint="Write it like https://www.example.org, https://example.org/new or /new",
        )


def redirect_keeps_path(target: str) -> bool:
    """Whether a redirection's target leaves path and query to the request."""
    found = _TARGET.fullmatch(target)
    return found is not None and found["path"] is None and found["rest"] in {None, ""}


def covers(pattern: str, host: str) -> bool:
    """Whether a host stands for another, with one level for a `*` (RFC 6125)."""
    if pattern == host:
        return True
    return pattern.startswith("*.") and "." in host and pattern[2:] == host.split(".", 1)[1]


def _bad_host(host: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{host!r} is no host name.",
        hint="Write it like www.example.org or *.example.org, without a port or path.",
    )
