"""The files of a cost log to sums by model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from cipherlog_core import Settings
from cipherlog_core.reading import left_lines, recover, segments

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
    SELECT DISTINCT ON (id)
        *, coalesce(model, request_model, '(unknown model)') AS name, cost.total::DECIMAL(38, 20) AS charged
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
    in_place: str | None
    """Why such rings could not be emptied, if so: their records are in the sums, and still in the rings."""


def read_report(folder: str, *, since: str = "") -> Report:
    """The sums over all files of the cost log in *folder*, from the time *since* (a prefix of ISO 8601, UTC) on.

    First brings in what dead processes left behind; where the folder cannot be written, reads it where it is. Raises
    `NoLogError` where there is no cost log.
    """
    with _recovered(folder) as (recovered, in_place, more):
        files = segments(folder, _LOG)
        if not files and not more:
            raise NoLogError(f"no {_LOG} in {os.path.abspath(folder)}")
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as database:
            database.execute(_LINES, {"files": [*files, *more], "columns": _COLUMNS})
            *rows, total = (Row(**row) for row in _records(database.execute(_SUMS, {"since": since})))
            (facts,) = _records(database.execute(_FACTS, {"since": since}))
    return Report(rows=rows, total=total, files=len(files), recovered=recovered, in_place=in_place, **facts)


@contextmanager
def _recovered(folder: str) -> Iterator[tuple[int, str | None, list[str]]]:
    """How many records were brought in; else why none could be, and a file that holds them."""
    spool_dir = Settings.from_env().spool_dir
    try:
        yield recover(folder, spool_dir).records.total(), None, []
        return
    except OSError as error:
        trouble = str(error)
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(left_lines(folder, _LOG, spool_dir))
        file.flush()
        yield 0, trouble, [file.name]


def _records(result: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    return (dict(zip(names, row, strict=True)) for row in result.fetchall())
