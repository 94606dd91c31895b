"""No statement of the node's daily work walks a whole table that grows with the fleet."""

from __future__ import annotations

import re

import apsw
import pytest

from covey.engines.sqlite import job_storage, log_storage, log_writer
from covey.engines.sqlite.schema import MIGRATIONS

VERBS = (["SELECT"], ["INSERT"], ["UPDATE"], ["DELETE"])
STATEMENTS = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name}": text
    for module in (job_storage, log_storage, log_writer)
    for name, text in vars(module).items()
    if isinstance(text, str) and text.split()[:1] in VERBS
    if name not in {"_ENTRY", "_FIND_KEYS"}
}
SMALL = {"held", "h", "log", "quarantine", "k", "l USING COVERING INDEX leaf_contested"}
SMALL |= {"job_schedule", "json_each VIRTUAL TABLE INDEX 1:"}
SMALL |= {"job USING INDEX job_running", "job USING COVERING INDEX job_running"}
# In the order that is asked for, and ended by LIMIT.
SMALL |= {"waiting USING INDEX job_queued", "job USING INDEX job_due"}


@pytest.mark.parametrize("name", [*sorted(STATEMENTS)])
def test_each_statement_finds_its_rows_by_an_index(name: str):
    connection = apsw.Connection(":memory:")
    for script in MIGRATIONS:
        connection.execute(script)
    sql = STATEMENTS[name]
    numbers = [int(number) for number in re.findall(r"\?(\d)", sql)]
    count = max(numbers, default=sql.count("?"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * count)]
    scans = [line for line in plan if line.startswith("SCAN ") and line[5:] not in SMALL]
    assert scans == []
    connection.close()


def test_the_statements_were_found():
    assert {"log_storage._HELD", "log_storage._SCAN", "log_writer._LEAVES"} <= STATEMENTS.keys()
