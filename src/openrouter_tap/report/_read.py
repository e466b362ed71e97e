"""The files of a cost log to sums by model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from cipherlog_core.reading import recover, segments

__all__ = ["NoLogError", "Report", "Row", "read_report"]

_LOG = "openrouter-costs.jsonl"

# Named, so that a file's first lines cannot decide them. Money is text: a column of floats loses its last digits.
_COLUMNS = {
    "id": "VARCHAR",
    "ts": "VARCHAR",
    "event": "VARCHAR",
    "fields": """STRUCT(
        model VARCHAR, request_model VARCHAR, outcome VARCHAR, latency_ms DOUBLE, ttft_ms DOUBLE, dropped BIGINT,
        tokens STRUCT(prompt BIGINT, completion BIGINT, cached BIGINT), cost STRUCT(total VARCHAR)
    )""",
}

_LINES = """
CREATE TEMP TABLE lines AS
SELECT id, ts, event, fields.*, filename
FROM read_json($files, format = 'newline_delimited', columns = $columns, ignore_errors = true, filename = true)
"""

_SUMS = """
WITH calls AS (
    SELECT *, coalesce(model, request_model, '(unknown model)') AS name, cost.total::DECIMAL(38, 20) AS charged
    FROM lines WHERE event = 'openrouter_cost' AND ts >= $since
)
SELECT
    coalesce(name, 'all models') AS model,
    count(*) AS calls,
    count(*) FILTER (outcome <> 'completed') AS not_completed,
    sum(tokens.prompt)::BIGINT AS prompt,
    sum(tokens.completion)::BIGINT AS completion,
    sum(tokens.cached)::BIGINT AS cached,
    sum(charged) AS cost,
    count(*) FILTER (charged IS NULL) AS unknown_cost,
    median(latency_ms) AS latency_median_ms,
    quantile_cont(latency_ms, 0.95) AS latency_p95_ms,
    median(ttft_ms) AS ttft_median_ms
FROM calls
GROUP BY GROUPING SETS ((name), ())
ORDER BY grouping(name), cost DESC NULLS LAST, calls DESC, model
"""

_FACTS = """
SELECT
    min(ts) FILTER (event = 'openrouter_cost' AND ts >= $since) AS since,
    max(ts) FILTER (event = 'openrouter_cost' AND ts >= $since) AS until,
    min(ts) AS oldest,
    arg_min(filename, ts) AS oldest_file,
    coalesce(sum(dropped) FILTER (event = 'records_dropped'), 0)::BIGINT AS dropped,
    count(*) FILTER (id IS NULL) AS torn
FROM lines
"""


class NoLogError(Exception):
    """There is no cost log where one was looked for."""


@dataclass(frozen=True, slots=True)
class Row:
    """The calls of one model, or of all. None is unknown; times are milliseconds, money is US dollars."""

    model: str
    calls: int
    not_completed: int
    prompt: int | None
    completion: int | None
    cached: int | None
    cost: Decimal | None
    unknown_cost: int
    """Calls whose cost is not in `cost`, because it is not known."""
    latency_median_ms: float | None
    latency_p95_ms: float | None
    ttft_median_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The sums, and what a reader must know to trust them."""

    rows: list[Row]
    """By model, the dearest first."""
    total: Row
    since: str | None
    """Time of the first call in the sums."""
    until: str | None
    oldest: str | None
    """Time of the oldest event that is still on disk."""
    oldest_file: str | None
    dropped: int
    """Events that the log says were dropped."""
    torn: int
    """Lines that are no records; they are in no sum."""
    files: int
    recovered: int
    """Records that were in the rings of dead processes until now."""
    trouble: str | None
    """Why such rings could not be emptied, if so: their records are missing here."""


def read_report(folder: str, *, since: str = "") -> Report:
    """The sums over all files of the cost log in *folder*, from the time *since* (a prefix of ISO 8601, UTC) on.

    First brings in what dead processes left behind. Raises `NoLogError` where there is no cost log.
    """
    recovered, trouble = _recover(folder)
    files = segments(folder, _LOG)
    if not files:
        raise NoLogError(f"no {_LOG} in {os.path.abspath(folder)}")
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as database:
        database.execute(_LINES, {"files": files, "columns": _COLUMNS})
        *rows, total = (Row(**row) for row in _records(database.execute(_SUMS, {"since": since})))
        (facts,) = _records(database.execute(_FACTS, {"since": since}))
    return Report(rows=rows, total=total, files=len(files), recovered=recovered, trouble=trouble, **facts)


def _recover(folder: str) -> tuple[int, str | None]:
    try:
        return recover(folder).records.total(), None
    except OSError as error:
        return 0, str(error)


def _records(result: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    return (dict(zip(names, row, strict=True)) for row in result.fetchall())
