"""Only who knows the secret can deliver; the forges' own examples hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.apps.webhooks.forges import forge_of
from covey.apps.webhooks.integrations import new_secret
from covey.apps.webhooks.model import ForgeName
from tests.apps.webhooks.sending import SECRET, Sent, delivery, now, sign, standard_signature

FORGES = [item.value for item in ForgeName]
DOCUMENTED_SECRET = "It's a Secret to Everybody"


def verify(forge: str, sent: Sent, secret: str = SECRET, at: float | None = None) -> bool:
    when = now() if at is None else at
    return forge_of(ForgeName(forge)).verify(secret, sent.headers, sent.body, when)


def test_githubs_documented_example():
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    sent = Sent({"x-hub-signature-256": signature}, b"Hello, World!")
    assert verify("github", sent, DOCUMENTED_SECRET)
    assert not verify("github", Sent(sent.headers, b"Hello, World?"), DOCUMENTED_SECRET)
    assert not verify("github", sent, DOCUMENTED_SECRET + " ")


def test_bitbuckets_documented_example():
    signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    sent = Sent({"x-hub-signature": signature}, b"Hello World!")
    assert verify("bitbucket", sent, DOCUMENTED_SECRET)


@pytest.mark.parametrize("forge", FORGES)
def test_a_signed_delivery_is_taken_and_others_are_not(forge: str):
    sent = delivery(forge, "push")
    assert verify(forge, sent)
    assert not verify(forge, sent, "another secret")
    assert not verify(forge, Sent({"content-type": "application/json"}, sent.body))


@pytest.mark.parametrize("forge", ["github", "gitea", "bitbucket"])
def test_a_changed_body_is_refused(forge: str):
    sent = delivery(forge, "push")
    assert not verify(forge, Sent(sent.headers, sent.body.replace(b"main", b"evil")))


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("signature", ["", "sha256=", "0" * 64, "sha256=" + "0" * 64, "é", "\x00"])
def test_a_made_up_signature_is_refused(forge: str, signature: str):
    names = (
        "x-hub-signature-256",
        "x-hub-signature",
        "x-gitea-signature",
        "x-forgejo-signature",
        "x-gitlab-token",
        "webhook-signature",
    )
    sent = Sent(dict.fromkeys(names, signature), b"{}")
    assert not verify(forge, sent)


def test_githubs_sha1_signature_is_not_enough():
    sent = delivery("github", "push").with_headers(x_hub_signature_256=None)
    assert "x-hub-signature" in sent.headers
    assert not verify("github", sent)


@pytest.mark.parametrize("header", ["x-gitea-signature", "x-forgejo-signature"])
def test_gitea_and_forgejo_sign_with_their_own_headers(header: str):
    assert verify("gitea", Sent({header: sign(SECRET, b"{}")}, b"{}"))


def test_gitlabs_signing_token():
    body, moment = b"{}", 1_700_000_000
    headers = standard_signature(SECRET, "some-id", moment, body)
    assert verify("gitlab", Sent(headers, body), at=moment)
    assert verify("gitlab", Sent(headers, body), at=moment + 299)
    assert not verify("gitlab", Sent(headers, body), at=moment + 301)
    assert not verify("gitlab", Sent(headers, body), at=moment - 301)
    for name in headers:
        assert not verify("gitlab", Sent({**headers, name: "1" + headers[name]}, body), at=moment)
    rotated = {**headers, "webhook-signature": "v1,AAAA " + headers["webhook-signature"]}
    assert verify("gitlab", Sent(rotated, body), at=moment)


def test_a_wrong_gitlab_signature_is_not_saved_by_the_token():
    sent = delivery("gitlab", "push").with_headers(webhook_signature="v1,AAAA")
    assert not verify("gitlab", sent)


@pytest.mark.parametrize("forge", FORGES)
def test_each_secret_is_new_and_usable(forge: str):
    name = ForgeName(forge)
    assert new_secret(name) != new_secret(name)
    secret = new_secret(name)
    assert verify(forge, delivery(forge, "push", secret=secret), secret)


@given(st.sampled_from(FORGES), st.binary(max_size=200), st.dictionaries(st.text(), st.text()))
def test_no_headers_break_the_verification(forge: str, body: bytes, headers: dict[str, str]):
    assert not verify(forge, Sent(headers, body))


@given(st.text(max_size=80), st.text(max_size=30), st.text(max_size=30))
def test_no_signature_breaks_gitlabs_verification(signature: str, moment: str, identity: str):
    headers = {
        "webhook-signature": signature,
        "webhook-timestamp": moment,
        "webhook-id": identity,
    }
    assert not verify("gitlab", Sent(headers, b"{}"))
