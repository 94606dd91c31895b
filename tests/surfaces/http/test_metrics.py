from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from covey.surfaces.http.metrics import Gauge
from tests.surfaces.http.serving import Running, running


def samples(server: Running) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = server.request("GET", "/metrics", token="viewer").body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_operation_and_status():
    with running() as server:
        server.request("GET", "/api/v1/notes/absent")
        server.request("GET", "/api/v1/notes/missing")
        server.request("GET", "/api/v1/notes", token=None)
        server.request("GET", "/secret-looking-path")
        server.request("GET", "/api/v1/ticks")
        server.eventually(lambda: not server.server._state.tasks)
        found = samples(server)
    counts = {key[1]: value for key, value in found.items() if key[0].endswith("requests_total")}
    assert counts == {
        (("operation", "note.get"), ("status", "404")): 2,
        (("operation", "note.list"), ("status", "401")): 1,
        (("operation", "none"), ("status", "404")): 1,
        (("operation", "note.watch"), ("status", "200")): 1,
    }
    name = "covey_http_request_duration_seconds_count"
    assert found[name, (("operation", "note.get"),)] == 2
    assert (name, (("operation", "note.watch"),)) not in found


def test_the_nodes_gauges_and_its_memory_are_there():
    with running() as server:
        server.gauges = [
            Gauge("covey_entries_behind", "Entries to fetch.", 3, {"peer": 'a"b\\c\n'}),
            Gauge("covey_entries_behind", "Entries to fetch.", 4, {"peer": "d"}),
            Gauge("covey_entries", "Entries held.", 7),
        ]
        found = samples(server)
    assert found["covey_entries_behind", (("peer", 'a"b\\c\n'),)] == 3
    assert found["covey_entries_behind", (("peer", "d"),)] == 4
    assert found["covey_entries", ()] == 7
    assert found["process_resident_memory_bytes", ()] > 1_000_000
