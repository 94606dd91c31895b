"""The operations on variables, called as a surface calls them, over real sealed records."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    RefusedError,
    TooLargeError,
)
from covey.operations.access import Role
from covey.operations.secret import MASK
from tests.env.nodes import EnvNode, make_node, on_node
from tests.store.store_nodes import introduce, pull

NASTY = "q'\"$HOME `id` $(id) ${X} !! \\ é\u2019\n\ttail\r\n\n"


@on_node
async def test_every_value_comes_back(node: EnvNode) -> None:
    for value in [NASTY, "", "op://a/b/c", "file:/x", "cmd:id", "x" * 65536, "\n", "'"]:
        await node.set("A", value)
        assert await node.get("A") == value
        assert await node.get("A", scope="fleet") == value


@on_node
async def test_what_no_environment_can_hold_is_refused_without_showing_it(node: EnvNode) -> None:
    for name, value, kind in [
        ("A", "hunter2\0", InvalidRequestError),
        ("A", "hunter2\ud800", InvalidRequestError),
        ("A", "hunter2" * 10000, TooLargeError),
        ("COVEY_LOG_LEVEL", "hunter2", InvalidRequestError),
        ("__COVEY_NAMES", "hunter2", InvalidRequestError),
    ]:
        with pytest.raises(kind) as caught:
            await node.set(name, value)
        assert "hunter2" not in str(caught.value)
    assert list(node.env.records.everything()) == []


@on_node
async def test_the_narrowest_scope_wins(node: EnvNode) -> None:
    for scope in ["host:frigg", "environment:shop/dev", "project:shop", "fleet", "host:other"]:
        await node.set("A", scope, scope)
    assert await node.get("A") == "host:frigg"
    assert await node.get("A", host="Other") == "host:other"
    assert await node.get("A", host="third") == "fleet"
    assert await node.get("A", project="shop", host="third") == "project:shop"
    place = {"project": "shop", "environment": "dev"}
    assert await node.get("A", **place, host="third") == "environment:shop/dev"
    found = await node.call("explain", name="A", reveal=True, **place)
    assert (found.scope, found.value) == ("host:frigg", "host:frigg")
    assert [one.scope for one in found.shadows] == [
        "environment:shop/dev",
        "project:shop",
        "fleet",
    ]


@on_node
async def test_viewers_see_names_and_masks_only(node: EnvNode) -> None:
    await node.set("SECRET", "hunter2")
    await node.set("PLAIN", "plain text", kind="plain")
    viewed = (await node.call("list", Role.VIEWER)).items
    assert [(one.name, one.value) for one in viewed] == [("PLAIN", MASK), ("SECRET", MASK)]
    seen = (await node.call("list")).items
    assert [(one.value, one.revealed) for one in seen] == [("plain text", True), (MASK, False)]
    shown = (await node.call("list", reveal=True)).items
    assert [one.value for one in shown] == ["plain text", "hunter2"]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list", {}),
        ("explain", {"name": "SECRET"}),
        ("history", {"name": "SECRET"}),
        ("search", {"text": "S"}),
        ("conflicts", {}),
        ("diff", {"left": "fleet", "right": "project:x"}),
    ]
    for operation, arguments in calls:
        masked = await node.call(operation, Role.VIEWER, **arguments)
        assert "hunter2" not in repr(masked)
        assert "plain text" not in repr(masked)
        with pytest.raises(RefusedError):
            await node.call(operation, Role.VIEWER, reveal=True, **arguments)


@on_node
async def test_revealing_is_audited_and_plain_reading_is_not(node: EnvNode) -> None:
    await node.set("A", "hunter2")
    await node.call("list")
    await node.call("list", reveal=True)
    await node.get("A")
    await node.call("values")
    assert [entry.operation for entry in node.trail] == [
        "env.set",
        "env.list",
        "env.get",
        "env.values",
    ]
    assert "hunter2" not in repr(node.trail)


@on_node
async def test_results_and_stored_variables_do_not_show_secrets_in_repr(node: EnvNode) -> None:
    await node.set("A", "hunter2")
    assert "hunter2" not in repr(await node.call("list"))
    assert "hunter2" not in repr(list(node.env.records.everything()))


@on_node
async def test_kind_and_note_stay_and_expansion_does_not(node: EnvNode) -> None:
    await node.set("A", "1", kind="plain", note="why", expand=True)
    again = await node.set("A", "${B}")
    assert (again.kind.value, again.note, again.expand) == ("plain", "why", False)
    assert "literally" in again.hint
    assert await node.get("A") == "${B}"
    assert (await node.set("A", "x")).hint is None
    assert (
        "covey env unset PATH --scope host:frigg"
        in (await node.set("PATH", "/bin", "host:frigg")).hint
    )


@on_node
async def test_expansion_is_checked_when_set_and_resolved_when_used(node: EnvNode) -> None:
    with pytest.raises(InvalidRequestError, match=r"is not closed|not followed"):
        await node.set("A", "${B", expand=True)
    await node.set("A", "http://${HOST_NAME:-localhost}/", expand=True)
    assert await node.get("A") == "http://localhost/"
    await node.set("HOST_NAME", "frigg")
    assert await node.get("A") == "http://frigg/"
    await node.set("LOOP", "${POOL}", expand=True)
    await node.set("POOL", "${LOOP}", expand=True)
    with pytest.raises(ConflictError, match="LOOP → POOL → LOOP is a cycle"):
        await node.get("LOOP")
    with pytest.raises(ConflictError, match="cycle") as caught:
        await node.call("values")
    assert caught.value.details["names"] == ["LOOP", "POOL"]
    partial = await node.call("values", partial=True)
    assert partial.values == {"A": "http://frigg/", "HOST_NAME": "frigg"}
    assert [one.name for one in partial.problems] == ["LOOP", "POOL"]
    listed = {one.name: one.problem for one in (await node.call("list")).items}
    assert listed["A"] is None
    assert "cycle" in listed["POOL"]


@on_node
async def test_references_are_looked_up_when_used_and_kept_a_short_while(node: EnvNode) -> None:
    node.references.answers = {"op://v/i/f": "from op", "cmd:pass db/from op": "deep"}
    await node.set("OP", "op://v/i/f", expand=True)
    await node.set("DEEP", "cmd:pass db/${OP}", expand=True)
    await node.set("LITERAL", "op://v/i/f")
    assert node.references.asked == []
    assert await node.get("DEEP") == "deep"
    assert (await node.call("values")).values == {
        "OP": "from op",
        "DEEP": "deep",
        "LITERAL": "op://v/i/f",
    }
    assert sorted(node.references.asked) == ["cmd:pass db/from op", "op://v/i/f"]
    node.references.answers["op://v/i/f"] = "rotated"
    assert await node.get("OP") == "from op"
    node.now += 301
    assert await node.get("OP") == "rotated"
    with pytest.raises(ConflictError, match="DEEP has no value: it is in no table"):
        await node.get("DEEP")


@on_node
async def test_not_found_says_where_it_is_or_what_is_near(node: EnvNode) -> None:
    await node.set("API_TOKEN", "x", "project:shop")
    with pytest.raises(NotFoundError) as elsewhere:
        await node.get("API_TOKEN")
    assert "project:shop" in str(elsewhere.value)
    with pytest.raises(NotFoundError) as near:
        await node.call("unset", name="API_TOKE")
    assert "Did you mean API_TOKEN?" in str(near.value)


@on_node
async def test_if_version_guards_an_edit(node: EnvNode) -> None:
    first = await node.set("A", "1")
    second = await node.set("A", "2", if_version=first.version)
    with pytest.raises(PreconditionFailedError):
        await node.set("A", "3", if_version=first.version)
    with pytest.raises(PreconditionFailedError):
        await node.call("unset", name="A", if_version=first.version)
    assert (await node.call("get", name="A")).version == second.version
    await node.call("unset", name="A", if_version=second.version)
    with pytest.raises(NotFoundError):
        await node.get("A")


@on_node
async def test_history_and_rollback(node: EnvNode) -> None:
    first = await node.set("A", "1", kind="plain")
    await node.set("A", "2")
    gone = await node.call("unset", name="A")
    versions = await node.call("history", name="A", reveal=True)
    assert [(one.value, one.deleted, one.current) for one in versions] == [
        (None, True, True),
        ("2", False, False),
        ("1", False, False),
    ]
    back = await node.call("rollback", name="A", version=first.version)
    assert (back.kind.value, await node.get("A")) == ("plain", "1")
    assert await node.call("rollback", name="A", version=gone.version) is None
    with pytest.raises(NotFoundError):
        await node.get("A")
    with pytest.raises(NotFoundError, match="no version"):
        await node.call("rollback", name="A", version="00000000.99")
    with pytest.raises(NotFoundError):
        await node.call("history", name="NEVER")


@on_node
async def test_several_changes_are_one_commit(node: EnvNode) -> None:
    await node.set("OLD", "x")
    with pytest.raises(NotFoundError):
        await node.call("apply", changes=[{"name": "A", "value": "1"}, {"name": "B"}])
    assert [name for name, _ in node.env.records.everything()] == ["OLD"]
    with pytest.raises(InvalidRequestError, match="twice"):
        await node.call("apply", changes=[{"name": "A", "value": "1"}, {"name": "A"}])
    done = await node.call(
        "apply",
        changes=[
            {"name": "A", "value": "${B}", "scope": "project:shop"},
            {"name": "A", "value": "2"},
            {"name": "OLD"},
        ],
    )
    assert (done.set, done.unset, len(done.hints)) == (["A", "A"], ["OLD"], 1)


@on_node
async def test_copying_between_scopes(node: EnvNode) -> None:
    await node.set("A", "1", "environment:shop/dev", kind="plain", note="n")
    await node.set("B", "2", "environment:shop/dev")
    await node.set("B", "other", "environment:shop/prod")
    between = {"source": "environment:shop/dev", "target": "environment:shop/prod"}
    with pytest.raises(ConflictError, match="B") as caught:
        await node.call("copy", **between)
    assert caught.value.details["names"] == ["B"]
    assert await node.call("copy", **between, name=["A"]) == ["A"]
    assert await node.call("copy", **between, overwrite=True) == ["B"]
    assert await node.call("copy", **between) == []
    copied = await node.call("get", name="A", scope="environment:shop/prod")
    assert (copied.value, copied.kind.value, copied.note) == ("1", "plain", "n")
    with pytest.raises(NotFoundError):
        await node.call("copy", **between, name=["MISSING"])


@on_node
async def test_search_looks_in_names_notes_and_only_if_asked_in_values(node: EnvNode) -> None:
    await node.set("API_TOKEN", "example.com", note="for billing")
    await node.set("OTHER", "x", "project:shop")
    assert [one.name for one in (await node.call("search", text="token")).items] == ["API_TOKEN"]
    assert [one.name for one in (await node.call("search", text="BILL")).items] == ["API_TOKEN"]
    assert (await node.call("search", text="example")).items == []
    found = (await node.call("search", text="example", reveal=True)).items
    assert [one.value for one in found] == ["example.com"]


@on_node
async def test_lists_come_in_pages(node: EnvNode) -> None:
    for number in range(5):
        await node.set(f"A{number}", "x", "project:shop" if number % 2 else "fleet")
    seen: list[str] = []
    cursor = None
    while True:
        page = await node.call("list", every_scope=True, cursor=cursor, limit=2)
        seen += [f"{one.name} {one.scope}" for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["A0 fleet", "A1 project:shop", "A2 fleet", "A3 project:shop", "A4 fleet"]
    scoped = await node.call("list", scope="project:shop")
    assert [one.name for one in scoped.items] == ["A1", "A3"]


@on_node
async def test_differences(node: EnvNode) -> None:
    first = await node.set("A", "1")
    second = await node.set("A", "2")
    await node.set("A", "shop", "project:shop")
    await node.set("B", "b", "project:shop", kind="plain")
    await node.set("C", "c")
    scopes = await node.call("diff", left="fleet", right="project:shop", reveal=True)
    assert [(one.name, one.change, one.left, one.right) for one in scopes] == [
        ("A", "changed", "2", "shop"),
        ("B", "added", None, "b"),
        ("C", "removed", "c", None),
    ]
    places = await node.call("diff", left="", right="shop@frigg")
    assert [(one.name, one.change, one.left, one.right) for one in places] == [
        ("A", "changed", MASK, MASK),
        ("B", "added", None, "b"),
    ]
    versions = await node.call(
        "diff", left=f"A#{first.version}", right=f"A#{second.version}", reveal=True
    )
    assert [(one.left, one.right) for one in versions] == [("1", "2")]
    assert await node.call("diff", left="fleet", right="fleet") == []
    for bad in ["nonsense:x", "a b", "A#0.1", "/dev"]:
        with pytest.raises(CoveyError):
            await node.call("diff", left=bad, right="fleet")


@on_node
async def test_import_takes_all_or_nothing(node: EnvNode) -> None:
    text = "A=1\nB='it is'\nexport C=\"x\ny\"\n"
    done = await node.call("import", text=text, scope="project:shop")
    assert (done.format, done.set, done.unchanged) == ("dotenv", ["A", "B", "C"], [])
    again = await node.call("import", text="A=2\nB='it is'\nA=3\n", scope="project:shop")
    assert (again.set, again.unchanged) == (["A"], ["B"])
    assert await node.get("A", project="shop") == "3"
    with pytest.raises(InvalidRequestError, match="line 2"):
        await node.call("import", text="D=1\nnonsense\n")
    with pytest.raises(InvalidRequestError, match="NUL"):
        await node.call("import", text="D=1\nE='\0'\n")
    with pytest.raises(NotFoundError):
        await node.get("D")


@on_node
async def test_import_expands_only_when_asked(node: EnvNode) -> None:
    text = "HOST_NAME=h\nURL=http://$HOST_NAME/${PATH_PART:-x}\nRAW='${HOST_NAME}'\n"
    await node.call("import", text=text)
    assert await node.get("URL") == "http://$HOST_NAME/${PATH_PART:-x}"
    await node.call("import", text=text, expand=True)
    assert await node.get("URL") == "http://h/x"
    assert await node.get("RAW") == "${HOST_NAME}"


@on_node
async def test_what_is_exported_is_imported_the_same(node: EnvNode) -> None:
    values = {"A": NASTY, "EMPTY": "", "BIG": "é" * 32768}
    for name, value in values.items():
        await node.set(name, value)
    for kind in ["dotenv", "json", "yaml", "toml", "kubernetes"]:
        text = (await node.call("export", format=kind)).text
        done = await node.call("import", text=text, format=kind, scope="project:copy")
        assert sorted(done.set + done.unchanged) == sorted(values)
        for name, value in values.items():
            assert await node.get(name, scope="project:copy") == value
    with pytest.raises(InvalidRequestError, match="more than one line"):
        await node.call("export", format="docker")


@on_node
async def test_a_text_for_eval_leaves_out_what_has_no_value(node: EnvNode) -> None:
    await node.set("GOOD", "1")
    await node.set("BAD", "${NOWHERE}", expand=True)
    for kind in ["sh", "bash", "zsh", "fish", "powershell"]:
        found = await node.call("export", format=kind)
        assert found.names == ["GOOD"]
        assert [one.name for one in found.problems] == ["BAD"]
    for kind in ["dotenv", "json"]:
        with pytest.raises(ConflictError, match="BAD"):
            await node.call("export", format=kind)


@on_node
async def test_values_name_the_secret_ones(node: EnvNode) -> None:
    await node.set("SECRET", "s")
    await node.set("PLAIN", "p", "project:shop", kind="plain")
    found = await node.call("values", project="shop")
    assert (found.values, found.secret, found.host) == (
        {"SECRET": "s", "PLAIN": "p"},
        ["SECRET"],
        "frigg",
    )


@on_node
async def test_watching_names_what_changed_at_a_place(node: EnvNode) -> None:
    watching = node.watch(project="shop")
    assert (await anext(watching)).names == []
    await node.set("OUT_OF_SIGHT", "x", "project:other")
    await node.call(
        "apply",
        changes=[{"name": "B", "value": "1"}, {"name": "A", "value": "1", "scope": "project:shop"}],
    )
    assert (await anext(watching)).names == ["A", "B"]
    await node.call("unset", name="B")
    assert (await anext(watching)).names == ["B"]
    await watching.aclose()


@on_node
async def test_homelab_lines_go_into_host_records_and_come_out(node: EnvNode) -> None:
    await node.hosts.upsert("my-nas", {"ip": "10.0.0.1"})
    text = (
        'HOST_FRIGG_IP="10.0.0.5"\nHOST_FRIGG_HOSTNAME="frigg.lan"\n'
        'HOST_FRIGG_BACKUP_PATH="/srv/backup dir"\nHOST_MY_NAS_BACKUP_PATH="/b"\n'
        'HOST_TWO_PARTS_HOSTNAME="two"\nHOST_TWO_PARTS_MAC="aa:bb"\nOTHER="x"\n'
    )
    done = await node.call("import", text=text, format="homelab")
    assert (done.set, done.hosts) == (["OTHER"], ["frigg", "my-nas", "two-parts"])
    assert node.hosts.get("frigg").fields == {
        "backup_path": "/srv/backup dir",
        "hostname": "frigg.lan",
        "ip": "10.0.0.5",
    }
    assert node.hosts.get("my-nas").fields == {"backup_path": "/b", "ip": "10.0.0.1"}
    out = (await node.call("export", format="homelab")).text
    assert "HOST_FRIGG_BACKUP_PATH='/srv/backup dir'" in out
    again = await node.call("import", text=out, format="homelab")
    assert again.hosts == done.hosts
    assert (await node.call("export", format="homelab")).text == out
    with pytest.raises(NotFoundError):
        await node.get("HOST_FRIGG_IP")


@on_node
async def test_scanning_texts_and_who_may_scan_files(node: EnvNode) -> None:
    await node.set("A", "hunter2-long")
    await node.set("P", "plain-long-value", kind="plain")
    texts = [{"name": "x", "text": "a\n  hunter2-long plain-long-value"}]
    report = await node.call("scan", texts=texts)
    assert [(one.file, one.line, one.column, one.name) for one in report.findings] == [
        ("x", 2, 3, "A")
    ]
    assert "hunter2" not in repr(report)
    assert (await node.call("scan", paths=["/a", "/b"])).files == 2
    with pytest.raises(InvalidRequestError):
        await node.call("scan", staged=True)


@on_node
async def test_the_secrets_that_a_removed_node_knew(node: EnvNode) -> None:
    await node.set("A", "1")
    await node.set("B", "2", "host:frigg")
    await node.set("P", "3", kind="plain")
    found = [(one.name, one.scope) for one in node.env.secret_names()]
    assert found == [("A", "fleet"), ("B", "host:frigg")]


async def _two_in_conflict() -> tuple[EnvNode, EnvNode]:
    freya, frigg = await make_node("freya"), await make_node("frigg")
    introduce([freya.store, frigg.store])
    await freya.set("COLOUR", "red", note="n")
    await frigg.set("COLOUR", "blue")
    await pull(freya.store, frigg.store)
    await pull(frigg.store, freya.store)
    return freya, frigg


@pytest.mark.parametrize("choice", ["version", "value", "set", "unset"])
def test_a_conflict_is_listed_and_settled_everywhere(choice: str) -> None:
    async def main() -> None:
        freya, frigg = await _two_in_conflict()
        assert await freya.get("COLOUR") == await frigg.get("COLOUR")
        assert (await freya.call("get", name="COLOUR")).conflict
        [conflict] = await freya.call("conflicts", reveal=True)
        assert (conflict.name, conflict.scope) == ("COLOUR", "fleet")
        assert {one.value for one in conflict.versions} == {"red", "blue"}
        assert [one.current for one in await freya.call("history", name="COLOUR")] == [True, True]
        loser = conflict.versions[1]
        with pytest.raises(InvalidRequestError, match="Choose"):
            await freya.call("resolve", name="COLOUR")
        with pytest.raises(NotFoundError):
            await freya.call("resolve", name="COLOUR", version="0.0")
        match choice:
            case "version":
                await freya.call("resolve", name="COLOUR", version=loser.version)
                wanted = loser.value
            case "value":
                await freya.call("resolve", name="COLOUR", value="green")
                wanted = "green"
            case "set":
                await freya.set("COLOUR", "grey")
                wanted = "grey"
            case _:
                await freya.call("unset", name="COLOUR")
                wanted = None
        await pull(frigg.store, freya.store)
        for node in (freya, frigg):
            assert await node.call("conflicts") == []
            if wanted is None:
                with pytest.raises(NotFoundError):
                    await node.get("COLOUR")
            else:
                assert await node.get("COLOUR") == wanted
        with pytest.raises(NotFoundError, match="not in conflict"):
            await frigg.call("resolve", name="COLOUR", value="x")
        await freya.store.stop()
        await frigg.store.stop()

    asyncio.run(main())
