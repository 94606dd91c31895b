"""Two and three nodes on one machine share their variables, through failures."""

from __future__ import annotations

from tests.system.harness import Fleet, Node, eventually


def value(node: Node, name: str) -> str | None:
    """Return a variable as this node sees it, or None where there is none."""
    done = node.run("env", "get", name, expect=None)
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None


def test_a_variable_set_on_either_node_is_read_on_the_other(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    freya.run("env", "set", "FROM_FREYA=one two")
    frigg.run("env", "set", "FROM_FRIGG=three")
    eventually(lambda: value(frigg, "FROM_FREYA") == "one two")
    eventually(lambda: value(freya, "FROM_FRIGG") == "three")
    names = {item["name"] for item in freya.json("fleet", "list")}
    assert names == {"freya", "frigg"}


def test_both_go_on_alone_and_agree_after_the_return(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    freya.run("env", "set", "SHARED=before")
    eventually(lambda: value(frigg, "SHARED") == "before")
    frigg.kill()
    freya.run("env", "set", "WHILE_DOWN=yes")
    freya.kill()
    frigg.start()
    assert value(frigg, "SHARED") == "before"
    frigg.run("env", "set", "ALONE=yes")
    freya.start()
    eventually(lambda: value(frigg, "WHILE_DOWN") == "yes")
    eventually(lambda: value(freya, "ALONE") == "yes")


def test_concurrent_edits_end_alike_and_are_settled_everywhere(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    freya.run("env", "set", "MODE=start")
    eventually(lambda: value(frigg, "MODE") == "start")
    frigg.stop()
    freya.run("env", "set", "MODE=of-freya")
    freya.stop()
    frigg.start()
    frigg.run("env", "set", "MODE=of-frigg")
    freya.start()
    for node in (freya, frigg):
        found = eventually(lambda node=node: node.json("env", "conflicts"))  # type: ignore[misc]
        assert "MODE" in str(found)
    assert value(freya, "MODE") == value(frigg, "MODE") == "of-frigg"
    versions = freya.json("env", "conflicts")[0]["versions"]
    authors = {version["author"].split("@")[1] for version in versions}
    assert authors == {"freya", "frigg"}
    freya.run("env", "resolve", "MODE", "--value-stdin", stdin="settled")
    eventually(lambda: value(frigg, "MODE") == "settled")
    for node in (freya, frigg):
        eventually(lambda node=node: node.json("env", "conflicts") == [])  # type: ignore[misc]


def test_a_relay_carries_what_it_cannot_read(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    relay = fleet.member(freya, "relay", "--relay")
    frigg = fleet.member(freya, "frigg")
    frigg.stop()
    freya.run("env", "set", "PLAINTEXT_CANARY_NAME=plaintext-canary-value")
    eventually(lambda: relay.json("status")["entries"] == freya.json("status")["entries"])
    freya.stop()
    frigg.start()
    eventually(lambda: value(frigg, "PLAINTEXT_CANARY_NAME") == "plaintext-canary-value")
    refused = relay.run("env", "list", expect=None)
    assert refused.returncode != 0
    relay.stop()
    for path in relay.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes().lower()
            assert b"plaintext-canary-value" not in data, path
            assert b"plaintext_canary_name" not in data, path


def test_a_removed_node_is_cut_off_and_its_secrets_are_named(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    freya.run("env", "set", "KNOWN_SECRET=hush-hush")
    eventually(lambda: value(frigg, "KNOWN_SECRET") == "hush-hush")
    told = freya.run("fleet", "remove", "frigg", "--yes")
    assert "KNOWN_SECRET" in told.stdout + told.stderr
    eventually(lambda: freya.json("status")["peers_connected"] == 0)
    frigg.run("env", "set", "AFTER=removal", expect=None)
    freya.run("env", "set", "LATER=not-for-frigg")
    assert value(freya, "AFTER") is None
    frigg.stop()
    frigg.start(expect_state="removed")
    assert value(frigg, "LATER") is None
    assert value(freya, "AFTER") is None
