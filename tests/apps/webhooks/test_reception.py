"""From a delivery to what it causes, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from covey.apps.webhooks.deliveries import Outcome
from covey.apps.webhooks.model import RefKind
from covey.apps.webhooks.reception import Receipt, ReceiptStatus
from covey.errors import (
    ConflictError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    StorageError,
    UnauthenticatedError,
)
from tests.apps.webhooks.recording import URLS, Scene
from tests.apps.webhooks.sending import (
    HEAD,
    PULL_HEAD,
    SECRET,
    Sent,
    delivery,
    payload,
    standard_signature,
)

FORGES = ["github", "gitlab", "gitea", "bitbucket"]
OPENED = {
    "github": "pull_opened",
    "gitlab": "merge_open",
    "gitea": "pull_opened",
    "bitbucket": "pull_created",
}
UPDATED = {
    "github": "pull_synchronize",
    "gitlab": "merge_update",
    "gitea": "pull_synchronized",
    "bitbucket": "pull_updated",
}
CLOSED = {
    "github": "pull_closed",
    "gitlab": "merge_merge",
    "gitea": "pull_closed",
    "bitbucket": "pull_fulfilled",
}


def send(scene: Scene, sent: Sent, forge: str = "github") -> Receipt:
    async def deliver() -> Receipt:
        receipt = await scene.reception.to_forge(forge, sent.headers, sent.body)
        await scene.deliveries.idle()
        return receipt

    return asyncio.run(deliver())


def send_to(scene: Scene, sent: Sent, name: str = "hook") -> Receipt:
    return asyncio.run(scene.reception.to_integration(name, sent.headers, sent.body))


def made(forge: str = "github", **options: object) -> Scene:
    scene = Scene()
    scene.app(url=URLS[forge])
    asyncio.run(scene.integration(forge, **options))  # type: ignore[arg-type]
    return scene


@pytest.mark.parametrize("forge", FORGES)
def test_a_signed_push_queues_a_deployment(forge: str):
    scene = made(forge)
    receipt = send(scene, delivery(forge, "push"), forge)
    assert receipt == Receipt(ReceiptStatus.QUEUED, "hook", ("shop/1",))
    assert receipt.http_status == 202
    (request,) = scene.deployer.deployed
    assert (request.app, request.kind, request.ref) == ("shop", RefKind.BRANCH, "main")
    assert (request.commit, request.caller) == (HEAD, "webhook hook")
    assert request.origin.repository == "acme/shop"


@pytest.mark.parametrize("forge", FORGES)
def test_each_webhook_has_a_route_of_its_own(forge: str):
    scene = made(forge)
    assert send_to(scene, delivery(forge, "push")).deployments == ("shop/1",)


def test_forgejo_is_gitea():
    assert send(made("gitea"), delivery("gitea", "push"), "forgejo").deployments == ("shop/1",)


def test_gitlabs_signing_token():
    scene, sent = made("gitlab"), delivery("gitlab", "push").with_headers(x_gitlab_token=None)
    moment = int(scene.clock().timestamp())
    signature = standard_signature(SECRET, "one", moment, sent.body)
    receipt = send(scene, Sent(sent.headers | signature, sent.body), "gitlab")
    assert receipt.deployments == ("shop/1",)
    again = standard_signature(SECRET, "one", moment, sent.body)
    duplicate = send(scene, Sent(sent.headers | again, sent.body), "gitlab")
    assert duplicate.status is ReceiptStatus.DUPLICATE


@pytest.mark.parametrize("forge", FORGES)
def test_what_is_forged_is_refused_and_remembered_nowhere(forge: str):
    scene = made(forge)
    for sent in (
        delivery(forge, "push", secret="whsec_YW5vdGhlcg=="),
        Sent({"content-type": "application/json"}, delivery(forge, "push").body),
    ):
        with pytest.raises(UnauthenticatedError):
            send(scene, sent, forge)
        with pytest.raises(UnauthenticatedError):
            send_to(scene, sent)
    assert scene.deployer.deployed == []
    assert scene.deliveries.of("hook") == []


def test_an_unknown_webhook_answers_as_a_wrong_signature_does():
    scene = made()
    told = []
    for name in ("hook", "nobody", "x" * 5000, ""):
        with pytest.raises(UnauthenticatedError) as caught:
            send_to(scene, delivery("github", "push", secret="another"), name)
        told.append((str(caught.value), caught.value.details))
    assert len(set(map(str, told))) == 1


def test_without_any_webhook_everything_is_refused():
    with pytest.raises(UnauthenticatedError):
        send(Scene(), delivery("github", "push"))


def test_an_unknown_forge_is_not_found():
    with pytest.raises(NotFoundError):
        send(made(), delivery("github", "push"), "sourcehut")


def test_the_secret_of_one_forge_does_not_open_another():
    with pytest.raises(UnauthenticatedError):
        send(made("gitea"), delivery("github", "push"), "github")


def test_the_webhook_whose_secret_fits_is_the_one():
    scene = made(name="other", secret="another secret", branches=("none",))
    asyncio.run(scene.integration(name="zz"))
    assert send(scene, delivery("github", "push")).integration == "zz"


def test_a_large_delivery_is_verified_too():
    scene = made()
    body = payload("github", "push") | {"padding": "x" * 2_000_000}
    assert send(scene, delivery("github", "push", body=body)).deployments == ("shop/1",)


@pytest.mark.parametrize("forge", FORGES)
def test_a_delivery_acts_once_over_restarts(forge: str):
    scene, sent = made(forge), delivery(forge, "push")
    assert send(scene, sent, forge).status is ReceiptStatus.QUEUED
    assert send(scene, sent, forge).status is ReceiptStatus.DUPLICATE
    scene.restart()
    duplicate = send_to(scene, sent)
    assert duplicate == Receipt(ReceiptStatus.DUPLICATE, "hook")
    assert duplicate.http_status == 200
    assert len(scene.deployer.deployed) == 1
    assert len(scene.deliveries.of("hook")) == 1


@pytest.mark.parametrize("forge", ["github", "gitea"])
def test_a_replay_under_another_id_is_known_by_its_body(forge: str):
    scene, sent = made(forge), delivery(forge, "push")
    send(scene, sent, forge)
    replay = sent.with_headers(x_github_delivery="new", x_gitea_delivery="new")
    assert send(scene, replay, forge).status is ReceiptStatus.DUPLICATE
    renamed = replay.with_headers(x_github_event="ping", x_gitea_event="ping")
    assert send(scene, renamed, forge).status is ReceiptStatus.DUPLICATE


@pytest.mark.parametrize("forge", ["gitlab", "bitbucket"])
def test_a_branch_moved_back_and_forth_is_deployed_each_time(forge: str):
    scene = made(forge)
    first, again = delivery(forge, "push"), delivery(forge, "push")
    assert first.body == again.body
    assert send(scene, first, forge).deployments == ("shop/1",)
    assert send(scene, again, forge).deployments == ("shop/2",)


@pytest.mark.parametrize("forge", ["gitlab", "bitbucket"])
def test_without_an_id_the_body_tells_deliveries_apart(forge: str):
    scene, names = made(forge), ("idempotency_key", "x_gitlab_event_uuid", "x_request_uuid")
    sent = delivery(forge, "push").with_headers(**dict.fromkeys(names))
    assert send(scene, sent, forge).status is ReceiptStatus.QUEUED
    assert send(scene, sent, forge).status is ReceiptStatus.DUPLICATE


def test_equal_deliveries_at_one_time_act_once():
    scene, sent = made(), delivery("github", "push")

    async def both() -> list[Receipt]:
        scene.deployer.slow = asyncio.Event()
        tasks = [
            asyncio.create_task(scene.reception.to_forge("github", sent.headers, sent.body))
            for _ in range(5)
        ]
        await asyncio.sleep(0)
        scene.deployer.slow.set()
        return await asyncio.gather(*tasks)

    found = [receipt.status for receipt in asyncio.run(both())]
    assert sorted(found) == [ReceiptStatus.DUPLICATE] * 4 + [ReceiptStatus.QUEUED]
    assert len(scene.deployer.deployed) == 1


def test_what_was_not_queued_can_be_delivered_again():
    scene, sent = made(), delivery("github", "push")
    for failure in (StorageError("The disk is full."), LockedError("The node is locked.")):
        scene.deployer.failure = failure
        with pytest.raises(type(failure)):
            send(scene, sent)
    scene.deployer.failure = None
    assert send(scene, sent).deployments == ("shop/1",)


def test_a_failure_of_one_app_does_not_deploy_another_twice():
    scene, sent = made(), delivery("github", "push")
    scene.app("api")
    scene.deployer.failure = StorageError("The disk is full.")
    with pytest.raises(StorageError):
        send(scene, sent)
    scene.deployer.failure = None
    assert set(send(scene, sent).deployments) == {"shop/1", "api/1"}
    uniques = [request.origin.unique for request in scene.deployer.deployed]
    assert len(set(uniques)) == 2


def test_an_app_that_refuses_is_told_of():
    scene = made()
    scene.deployer.failure = ConflictError("The app is being removed.")
    receipt = send(scene, delivery("github", "push"))
    assert receipt.status is ReceiptStatus.IGNORED
    assert receipt.http_status == 200
    assert receipt.reasons == ("shop: The app is being removed.",)


def test_a_delivery_that_cannot_be_read_is_kept_and_refused():
    scene = made()
    sent = delivery("github", "push", body=b'{"ref": 7}')
    with pytest.raises(InvalidRequestError):
        send(scene, sent)
    (kept,) = scene.deliveries.of("hook")
    assert kept.outcome is Outcome.INVALID
    assert kept.reasons


def test_hostile_json_needs_a_signature_to_be_looked_at():
    with pytest.raises(UnauthenticatedError):
        send(made(), delivery("github", "push", body=b"[" * 100_000, secret="another"))


def test_a_ping():
    scene = made()
    receipt = send(scene, delivery("github", "ping"))
    assert (receipt.status, receipt.http_status) == (ReceiptStatus.PONG, 200)
    assert scene.deliveries.of("hook")[0].outcome is Outcome.PONG


def test_which_apps_a_repository_feeds():
    scene = made()
    scene.app("api")
    scene.app("blog", "https://github.com/acme/blog")
    assert set(send(scene, delivery("github", "push")).deployments) == {"shop/1", "api/1"}


def test_a_webhook_can_name_its_apps():
    scene = made(apps=("api",))
    scene.app("api")
    assert send(scene, delivery("github", "push")).deployments == ("api/1",)


def test_another_repository_feeds_no_app_unless_both_are_named():
    scene = Scene()
    scene.app("shop", "https://mirror.example.org/shop.git")
    asyncio.run(scene.integration(apps=("shop",)))
    receipt = send(scene, delivery("github", "push"))
    assert receipt.status is ReceiptStatus.IGNORED
    assert "acme/shop" in receipt.reasons[0]
    asyncio.run(scene.integrations.remove("hook"))
    asyncio.run(scene.deliveries.forget("hook"))
    asyncio.run(scene.integration(apps=("shop",), repositories=("Acme/*",)))
    assert send(scene, delivery("github", "push")).deployments == ("shop/1",)


def test_a_repository_that_is_not_named_is_ignored():
    scene = made(repositories=("acme/blog",))
    receipt = send(scene, delivery("github", "push"))
    assert receipt.status is ReceiptStatus.IGNORED
    assert scene.deployer.deployed == []


def test_several_refs_of_one_push():
    scene = made("bitbucket", branches=("main", "old"), tags=("v*",))
    receipt = send(scene, delivery("bitbucket", "push_several"), "bitbucket")
    assert receipt.deployments == ("shop/1", "shop/2")
    assert [request.ref for request in scene.deployer.deployed] == ["main", "v1.2.0"]
    assert any("deleted" in reason for reason in receipt.reasons)


@pytest.mark.parametrize("forge", FORGES)
def test_the_life_of_a_preview(forge: str):
    scene = made(forge, previews=True)
    assert send(scene, delivery(forge, OPENED[forge]), forge).deployments == ("shop-pr-7",)
    assert send(scene, delivery(forge, UPDATED[forge]), forge).deployments == ("shop-pr-7",)
    first, second = scene.deployer.opened
    assert (first.parent, first.name, first.number) == ("shop", "shop-pr-7", 7)
    assert (second.ref, second.from_fork, second.title) == ("umbrellas", False, "Sell umbrellas")
    assert PULL_HEAD.startswith(second.commit)
    assert send(scene, delivery(forge, CLOSED[forge]), forge).deployments == ("shop-pr-7",)
    assert scene.deployer.previews() == []


@pytest.mark.parametrize("forge", FORGES)
def test_what_comes_after_the_close_does_not_open_it_again(forge: str):
    scene = made(forge, previews=True)
    for name in (OPENED, CLOSED):
        send(scene, delivery(forge, name[forge]), forge)
    scene.restart()
    receipt = send(scene, delivery(forge, UPDATED[forge]), forge)
    assert receipt.status is ReceiptStatus.IGNORED
    assert scene.deployer.previews() == []


@pytest.mark.parametrize(
    "forge,name", [("github", "pull_fork"), ("gitlab", "merge_fork"), ("gitea", "pull_fork")]
)
def test_a_fork_gets_a_preview_only_where_it_is_allowed(forge: str, name: str):
    scene = made(forge, previews=True)
    receipt = send(scene, delivery(forge, name), forge)
    assert receipt.status is ReceiptStatus.IGNORED
    assert scene.deployer.opened == []
    scene = made(forge, previews=True, forks=True)
    send(scene, delivery(forge, name), forge)
    (request,) = scene.deployer.opened
    assert request.from_fork
    assert request.ref.startswith("refs/")


def test_there_are_only_so_many_previews():
    scene = made(previews=True, max_previews=2)
    for number in (1, 2, 3):
        body = payload("github", "pull_opened") | {"number": number}
        receipt = send(scene, delivery("github", "pull_opened", body=body))
    assert receipt.status is ReceiptStatus.IGNORED
    assert "2 previews" in receipt.reasons[0]
    body = payload("github", "pull_synchronize") | {"number": 2}
    assert send(scene, delivery("github", "pull_synchronize", body=body)).deployments
    assert [item.number for item in scene.deployer.previews()] == [1, 2]


def test_the_close_of_what_has_no_preview():
    receipt = send(made(), delivery("github", "pull_closed"))
    assert receipt.status is ReceiptStatus.IGNORED


def test_a_new_secret_replaces_the_old_after_a_while():
    scene = made()
    changed = asyncio.run(scene.integrations.rotate("hook", timedelta(hours=1)))
    assert changed.secret != SECRET
    assert send(scene, delivery("github", "push", secret=changed.secret)).deployments
    other = payload("github", "push") | {"before": HEAD}
    scene.clock.move(minutes=59)
    assert send(scene, delivery("github", "push", body=other)).deployments
    scene.clock.move(minutes=2)
    with pytest.raises(UnauthenticatedError):
        send(scene, delivery("github", "push", body=other | {"compare": ""}))


def test_a_secret_can_be_replaced_at_once():
    scene = made()
    asyncio.run(scene.integrations.rotate("hook", timedelta()))
    with pytest.raises(UnauthenticatedError):
        send(scene, delivery("github", "push"))


def test_integrations_do_not_show_their_secrets():
    scene = Scene()
    made_one = asyncio.run(scene.integration(api_token="glpat-abc"))
    for text in (repr(made_one), str(made_one), repr(made_one.access())):
        assert SECRET not in text
        assert "glpat-abc" not in text


def test_a_name_is_given_once():
    scene = made()
    with pytest.raises(ConflictError):
        asyncio.run(scene.integration())
    asyncio.run(scene.integrations.remove("hook"))
    with pytest.raises(NotFoundError):
        scene.integrations.get("hook")


def test_no_forge_waits_until_old_deliveries_are_removed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covey.apps.webhooks.deliveries._PRUNE_EVERY", 1)
    monkeypatch.setattr("covey.apps.webhooks.deliveries._MOST", 0)
    scene = made()

    async def deliver() -> int:
        sent = delivery("github", "push")
        await scene.reception.to_forge("github", sent.headers, sent.body)
        kept = len(scene.deliveries.of("hook"))
        await scene.deliveries.idle()
        return kept

    assert asyncio.run(deliver()) == 1
    assert scene.deliveries.of("hook") == []


def test_deliveries_are_kept_for_a_while_and_in_bounded_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("covey.apps.webhooks.deliveries._PRUNE_EVERY", 4)
    monkeypatch.setattr("covey.apps.webhooks.deliveries._MOST", 8)
    scene = made()
    for number in range(20):
        body = payload("github", "push") | {"compare": str(number)}
        send(scene, delivery("github", "push", body=body))
        scene.clock.move(minutes=1)
    rows = scene.log.scan_local("webhooks.deliveries.hook")
    assert len(rows) <= 8 + 2 * 4
    kept = scene.deliveries.of("hook")
    assert kept[0].deployments == ("shop/20",)
    assert [item.at for item in kept] == sorted((item.at for item in kept), reverse=True)
    scene.clock.move(days=31)
    scene.restart()
    send(scene, delivery("github", "ping"))
    assert len(scene.deliveries.of("hook")) == 1
