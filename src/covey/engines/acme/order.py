"""One certificate by ACME (RFC 8555), proved by a DNS record that a program of the user sets.

The library is loaded with this module, and it blocks: call it in a thread.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from covey.apps.routing.ports import LoadedCertificate
from covey.engines.acme.account import AcmeAccount
from covey.errors import CoveyError, RefusedError, UnreachableError
from covey.fleet.private_file import replace_private_file

if TYPE_CHECKING:
    import requests

_HOOK_S = 600.0
_ORDER_S = 300.0
_LONGEST_OUTPUT = 300
_MOST_NONCES = 5
_log = logging.getLogger("covey.proxy")


class _PatientNetwork(client.ClientNetwork):
    """Asks again when a nonce is refused, as RFC 8555 (6.5) wants it; the library does it once."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a signed request."""
        for _ in range(_MOST_NONCES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


def order_certificate(account: AcmeAccount, host: str) -> LoadedCertificate:
    """Get a certificate for a host, which may be a wildcard.

    Raises `UnreachableError` or `RefusedError`.
    """
    key = _account_key(account.key_file)
    try:
        return _order(account, _sign_in(account, key), key, host)
    except messages.Error as error:
        raise RefusedError(
            f"The certificate authority gives no certificate for {host}: {error}",
            hint="Correct what it names; Covey tries again.",
        ) from error
    except errors.ValidationError as error:
        raise RefusedError(
            f"The certificate authority did not find the DNS record for {host}.",
            hint="Does the program of dns_hook wait until the record can be seen?",
        ) from error
    except (errors.Error, OSError, ValueError) as error:
        raise UnreachableError(
            f"The certificate authority {account.directory} cannot be used: "
            f"{type(error).__name__}.",
            hint="Check acme_directory and acme_roots in [proxy] of covey.toml, and the network.",
        ) from error


def _account_key(path: Path) -> JWKEC:
    if not path.exists():
        replace_private_file(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    found = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise RefusedError(f"{path} holds no key for ACME.", hint="Move it away.")
    return JWKEC(key=found)


def _sign_in(account: AcmeAccount, key: JWKEC) -> client.ClientV2:
    net = _PatientNetwork(key, alg=ES256, user_agent="covey")
    if account.roots:
        net.session.verify = account.roots
        net.verify_ssl = account.roots  # type: ignore[assignment] # requests takes a file too
    found = client.ClientV2(client.ClientV2.get_directory(account.directory, net), net)
    wanted = messages.NewRegistration.from_data(
        email=account.email or None, terms_of_service_agreed=True
    )
    try:
        found.new_account(wanted)
    except errors.ConflictError as error:
        net.account = messages.RegistrationResource(
            body=messages.Registration(), uri=error.location
        )
    return found


def _order(account: AcmeAccount, acme: client.ClientV2, key: JWKEC, host: str) -> LoadedCertificate:
    private = _pem(ec.generate_private_key(ec.SECP256R1()))
    order = acme.new_order(crypto_util.make_csr(private, [host]))
    with ExitStack() as records:
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue
            asked = _dns_challenge(authorization, host)
            name = asked.chall.validation_domain_name(authorization.body.identifier.value)
            value = asked.chall.validation(key)
            records.enter_context(_record(account.hook, name, value))
            acme.answer_challenge(asked, asked.chall.response(key))
        # The library compares with a local time without a zone.
        deadline = datetime.now() + timedelta(seconds=_ORDER_S)  # noqa: DTZ005
        order = acme.poll_and_finalize(order, deadline)
    return LoadedCertificate(order.fullchain_pem, private.decode())


def _dns_challenge(
    authorization: messages.AuthorizationResource, host: str
) -> messages.ChallengeBody:
    for item in authorization.body.challenges:
        if isinstance(item.chall, challenges.DNS01):
            return item
    raise RefusedError(
        f"The certificate authority offers no proof by DNS for {host}.",
        hint="Choose another acme_directory, or upload a certificate.",
    )


@contextmanager
def _record(hook: str, name: str, value: str) -> Iterator[None]:
    """Have the user's program set a TXT record, and clear it afterwards."""
    _call(hook, "set", name, value)
    try:
        yield
    finally:
        try:
            _call(hook, "clear", name, value)
        except CoveyError as error:
            _log.warning("%s", error)


def _call(hook: str, verb: str, name: str, value: str) -> None:
    try:
        done = subprocess.run(
            [hook, verb, name, value],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_HOOK_S,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(
            f"The program of dns_hook could not {verb} {name}: {type(error).__name__}.",
            hint=f"Try it: {hook} {verb} {name} test",
        ) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-_LONGEST_OUTPUT:]
        raise UnreachableError(
            f"The program of dns_hook could not {verb} {name} (status {done.returncode}): {said}",
            hint=f"Try it: {hook} {verb} {name} test",
        )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
