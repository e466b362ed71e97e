"""What the files of deploy/ name exists: fields in our schemas, columns in the views."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

import cipherlog_core.schemas
import openrouter_tap.schemas
from following import DEPLOY

CLICKHOUSE = (DEPLOY / "clickhouse" / "schema.sql").read_text()
DUCKDB = (DEPLOY / "duckdb" / "views.sql").read_text()
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
QUERIES = [(panel["title"], target["rawSql"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
NOT_COLUMNS = [
    "and",
    "as",
    "by",
    "cost_usd",
    "count",
    "countif",
    "desc",
    "from",
    "group",
    "ifnull",
    "isnull",
    "limit",
    "name",
    "order",
    "quantileexact",
    "select",
    "sum",
    "time",
    "todatetime",
    "tostartoffiveminutes",
    "tostartofminute",
    "where",
]


def schema(package: Any, event: str) -> dict[str, Any]:
    """The JSON Schema that the package ships."""
    return json.loads((Path(package.__file__).parent / f"{event}.schema.json").read_text())


def paths(part: dict[str, Any], whole: dict[str, Any]) -> set[tuple[str, ...]]:
    """All paths that a schema knows."""
    found: set[tuple[str, ...]] = set()
    for option in [part, *part.get("allOf", ()), *part.get("anyOf", ())]:
        if "$ref" in option:
            found |= paths(whole["$defs"][option["$ref"].rpartition("/")[2]], whole)
        for name, value in option.get("properties", {}).items():
            found |= {(name,)} | {(name, *rest) for rest in paths(value, whole)}
    return found


COST = schema(openrouter_tap.schemas, "openrouter_cost")
KNOWN = paths(COST, COST)
COLUMNS = {
    view: set(re.findall(r"^    (?:.* AS )?(\w+)(?:,|$)", text, re.MULTILINE))
    for view, text in {
        "costs": CLICKHOUSE.partition("TABLE IF NOT EXISTS openrouter_tap.calls\n(")[2]
        .partition("SELECT\n")[2]
        .partition("FROM")[0],
        "costs_daily": CLICKHOUSE.partition("openrouter_tap.costs_daily AS")[2].partition("FROM")[0],
    }.items()
}


def test_clickhouse_takes_fields_that_exist_and_leaves_none() -> None:
    """Each path in the views is one of the schema, each leaf of the schema is a column, but two that never change."""
    taken = {
        tuple(re.findall(r"'([^']+)'", match))
        for match in re.findall(r"JSONExtract\w*\(line((?:, '[a-z_]+')+)", CLICKHOUSE)
    }
    leaves = {path for path in KNOWN if path[0] == "fields" and not any(other[:-1] == path for other in KNOWN)}

    assert taken <= KNOWN | paths(RECORD, RECORD)
    assert leaves - taken == {("fields", "provider"), ("fields", "cost", "currency")}


RECORD = schema(cipherlog_core.schemas, "record")


def test_the_views_have_the_same_columns() -> None:
    """What runs on the one runs on the other; and DuckDB refuses a path that its types do not have."""
    with duckdb.connect() as database:
        database.execute(DUCKDB.replace("'openrouter-costs*.jsonl*'", f"'{DEPLOY / 'clickhouse' / 'schema.sql'}'"))
        for view, columns in COLUMNS.items():
            assert {row[0] for row in database.execute(f"DESCRIBE {view}").fetchall()} == columns
    for path in re.findall(r"fields\.([\w.]+) AS", DUCKDB):
        assert ("fields", *path.split(".")) in KNOWN


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_the_dashboard_asks_for_columns_that_exist(title: str, query: str) -> None:
    """Each word of a panel's query is SQL, a name that it gives itself, or a column of the view that it asks."""
    assert unknown(query) == set()


def test_a_column_that_does_not_exist_is_seen() -> None:
    """The negative control."""
    assert unknown(QUERIES[0][1].replace("cost_total", "cost_totl")) == {"cost_totl"}


def unknown(query: str) -> set[str]:
    text = re.sub(r"'[^']*'|\$__\w+", " ", query)
    view = re.search(r"FROM (\w+)", text)
    assert view
    named = set(re.findall(r" AS (\w+)", text))
    words = set(re.findall(r"[a-zA-Z_]\w*", text))
    return {word for word in words if word.lower() not in NOT_COLUMNS} - named - COLUMNS[view[1]] - {view[1]}
