"""The files of a cost log to sums by model."""

from __future__ import annotations

import gzip
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import duckdb

from cipherlog_core import Settings
from cipherlog_core.reading import Folders, recover, ring_states, segments

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

_LONGEST = 1 << 20  # bytes: four times those of the longest line that is written

_LOOKS = 5  # at a folder whose files change while they are read

_LINES = """
CREATE OR REPLACE TEMP TABLE lines AS
SELECT id, ts, event, fields.*, filename, id IS NOT NULL AND try_cast(ts AS TIMESTAMP) IS NOT NULL AS is_record
FROM read_json(
    $files, format = 'newline_delimited', columns = $columns, ignore_errors = true, filename = true,
    hive_partitioning = false
)
"""

_SUMS = """
WITH calls AS (
    SELECT DISTINCT ON (id)
        *,
        coalesce(model, request_model, '(unknown model)') AS name,
        try_cast(cost.total AS DOUBLE) AS about,
        CASE WHEN about = 0 OR abs(about) BETWEEN 1e-20 AND 1e9 THEN cost.total END AS money,
        try_cast(money AS DECIMAL(38, 20)) AS charged
    FROM lines WHERE is_record AND event = 'openrouter_cost' AND ts >= $since
)
SELECT
    coalesce(name, 'all models') AS model,
    count(*) AS calls,
    count(*) FILTER (outcome <> 'completed') AS not_completed,
    sum(tokens.prompt) AS prompt,
    sum(tokens.completion) AS completion,
    sum(tokens.cached) AS cached,
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
    (
        SELECT coalesce(sum(dropped), 0)
        FROM (SELECT DISTINCT ON (id) * FROM lines WHERE is_record AND event = 'records_dropped' AND ts >= $since)
    ) AS dropped,
    (SELECT count(*) FROM lines WHERE NOT is_record) AS torn
FROM lines WHERE is_record
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
    unreadable: list[str]
    """What could not be read, or not to its end, and why."""
    files: int
    recovered: int
    """Records that were in the rings of dead processes until now."""
    in_place: str | None
    """Why such rings could not be emptied, if so: their records are in the sums, and still in the rings."""


def read_report(folder: str, *, since: datetime | None = None) -> Report:
    """The sums over all files of the cost log in *folder*, over calls from *since* on (without a zone: UTC).

    First brings in what dead processes left behind; where the folder cannot be written, reads it where it is. Raises
    `NoLogError` where there is no cost log.
    """
    begin = "" if since is None else _text(since)
    rings = _rings(folder)
    with tempfile.TemporaryDirectory() as own, _database() as database:
        waiting = os.path.join(own, "in the rings.jsonl")
        with open(waiting, "wb") as file:
            file.write(rings.lines)
        files, unreadable = _load(database, folder, waiting)
        unreadable += rings.unreadable
        if not (files or rings.lines or unreadable):
            raise NoLogError(f"no {_LOG} in {os.path.abspath(folder)}")
        *rows, total = (Row(**row) for row in _records(database.execute(_SUMS, {"since": begin})))
        (facts,) = _records(database.execute(_FACTS, {"since": begin}))
    by_name = {_plain_name(path): path for path in files}
    facts["oldest_file"] = by_name.get(_plain_name(facts["oldest_file"] or ""))
    return Report(
        rows=rows,
        total=total,
        files=len(files),
        recovered=rings.recovered,
        in_place=rings.in_place,
        unreadable=unreadable,
        **facts,
    )


def _text(moment: datetime) -> str:
    """As it would stand in a record."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory, in which Ctrl-C is a `KeyboardInterrupt` as elsewhere."""
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as database:
            yield database
    except RuntimeError as error:
        if "interrupted" not in str(error):
            raise
        raise KeyboardInterrupt from error


class _Rings(NamedTuple):
    """What the rings of dead processes held."""

    recovered: int
    """Records that are in the log now."""
    in_place: str | None
    """Why others are not, if so."""
    lines: bytes
    """Those others."""
    unreadable: list[str]
    """What is in no sum."""


def _rings(folder: str) -> _Rings:
    settings = Settings.from_env()
    folders = Folders.of(folder, settings.spool_dir)
    foreign = [rings for rings in folders.rings if os.path.lexists(rings) and rings not in folders.own_rings]
    unreadable = [f"{rings}: a symlink, or another user's; what is in it is in no sum" for rings in foreign]
    try:
        found = recover(folder, settings.spool_dir, settings.file_mode)
        states = ring_states(folders) if found.troubles else ()
        left = [ring for ring in states if ring.log == _LOG and not ring.is_alive]
    except OSError as error:
        told = f"{error}: what killed processes may have left in their rings is in no sum"
        return _Rings(0, None, b"", [*unreadable, told])
    unreadable += [f"{path}: it was no ring of this version; what is in it is in no sum" for path in found.bad]
    unreadable += [
        f"{log}: {count} of the lines that a ring held when the machine went down"
        for log, count in (+found.lost).items()
    ]
    unreadable += [
        f"{ring.path}: no ring, or not to be opened; what is in it is in no sum" for ring in left if not ring.size
    ]
    lines = b"".join(ring.lines for ring in left)
    troubles = "; ".join(f"{path}: {error}" for path, error in found.troubles)
    return _Rings(found.records.total(), troubles if lines else None, lines, unreadable)


def _load(database: duckdb.DuckDBPyConnection, folder: str, waiting: str) -> tuple[list[str], list[str]]:
    """Read *waiting* and all files of the log; which these are, and what could not be read of them, and why."""
    found = segments(folder, _LOG)
    for _ in range(_LOOKS):
        flaws = {path: _flaw(path) for path in found}
        files = [path for path, flaw in flaws.items() if not flaw]
        unreadable = [f"{path}: {flaw}" for path, flaw in flaws.items() if flaw] + _read(database, [*files, waiting])
        before, found = found, segments(folder, _LOG)
        if found == before:  # else what was renamed meanwhile was not read, or its place is another file's
            return files, unreadable
    return files, [*unreadable, f"{folder}: its files changed at each of {_LOOKS} looks; one of them may be in no sum"]


def _flaw(path: str) -> str | None:
    """Why *path* need not be read, if so."""
    try:
        status = os.stat(path)
    except OSError as error:
        return str(error)
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    return "empty, which no compressed file is" if path.endswith(".gz") and not status.st_size else None


def _read(database: duckdb.DuckDBPyConnection, files: list[str]) -> list[str]:
    """Read *files*; which of them could not be read to their end, and why."""
    try:
        _read_lines(database, files)
    except duckdb.Error:  # it reads all or none: a broken file, or a line beyond all measure
        with tempfile.TemporaryDirectory() as own:
            copies = [_readable(path, own) for path in files]
            _read_lines(database, [copy for copy, _ in copies])
        return [f"{path}: {trouble}" for path, (_, trouble) in zip(files, copies, strict=True) if trouble]
    return []


def _read_lines(database: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    literal = [re.sub(r"([*?\[])", r"[\1]", path) for path in files]  # these are patterns to it
    database.execute(_LINES, {"files": literal, "columns": _COLUMNS})


def _plain_name(path: str) -> str:
    return os.path.basename(path).removesuffix(".gz")


def _readable(path: str, own: str) -> tuple[str, str | None]:
    """A copy of what can be read of a file, overlong lines as torn ones, and why the rest cannot."""
    copy = os.path.join(tempfile.mkdtemp(dir=own), _plain_name(path))
    trouble = None
    with open(copy, "wb") as target:
        try:
            with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as source:
                while line := source.readline(_LONGEST):
                    target.write(line if line.endswith(b"\n") else b"{}")
        except (OSError, EOFError, zlib.error) as error:
            trouble = str(error)
            target.write(b"\n")
    return copy, trouble


def _records(result: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    return (dict(zip(names, row, strict=True)) for row in result.fetchall())
