"""The views of deploy/ give the same five totals on ClickHouse's engine, on DuckDB, and added up by hand."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from following import DEPLOY
from totals import write

CHDB = os.environ.get("TAP_CHDB_PYTHON") or (importlib.util.find_spec("chdb") and sys.executable)
TOTALS = [part.strip() for part in (DEPLOY / "totals.sql").read_text().split(";") if part.strip()]


def on_duckdb(folder: Path) -> list[list[tuple[Any, ...]]]:
    views = (DEPLOY / "duckdb" / "views.sql").read_text().replace("'openrouter-costs*", f"'{folder}/openrouter-costs*")
    with duckdb.connect() as database:
        database.execute(views)
        return [database.execute(query).fetchall() for query in TOTALS]


def on_clickhouse(folder: Path) -> list[list[list[Any]]]:
    done = subprocess.run(
        [str(CHDB), Path(__file__).with_name("on_chdb.py"), DEPLOY, folder],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tables: list[list[list[Any]]] = json.loads(done.stdout)
    return tables


def texts(tables: Any) -> list[list[list[str]]]:
    """Each value as one text, whatever an engine calls a whole number or a day."""
    return [[[_text(value) for value in row] for row in table] for table in tables]


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = str(value)
    return f"{Decimal(text).normalize():f}" if re.fullmatch(r"-?\d+(\.\d+)?(E[-+]?\d+)?", text, re.IGNORECASE) else text


def test_duckdb_adds_to_the_last_digit(tmp_path: Path) -> None:
    """Five thousand calls; sums of floats would differ."""
    right = write(tmp_path, 5_000, seed=8)

    assert texts(on_duckdb(tmp_path)) == texts(right)
    assert [len(table) for table in right] == [7, 20, 3, 3, 3]


@pytest.mark.soak
@pytest.mark.skipif(not CHDB, reason="pip install chdb (or set TAP_CHDB_PYTHON to a Python that has it)")
def test_a_million_calls_on_clickhouse_and_duckdb(tmp_path: Path) -> None:
    """The same five queries over the same million lines, a thousand of which come twice."""
    right = texts(write(tmp_path, 1_000_000, seed=8))
    begin = time.monotonic()
    duck = texts(on_duckdb(tmp_path))
    between = time.monotonic()
    house = texts(on_clickhouse(tmp_path))

    print(f"\nDuckDB {between - begin:.1f} s, ClickHouse {time.monotonic() - between:.1f} s (loading included)")
    assert duck == right
    assert house == right
