from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from conftest import VALIDATE, Logs

import cipherlog_core
from openrouter_tap import log_cost
from openrouter_tap.schemas import all_schemas

SOURCE = Path(__file__).parents[2] / "src"


def test_the_files_are_those_of_the_types() -> None:
    """After a change of the types: ``make schemas``."""
    shipped = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.schema.json")}

    assert shipped == all_schemas()


@pytest.fixture
def record(logs: Logs) -> dict[str, Any]:
    cipherlog_core.start("app")
    log_cost(model="m", cost=0.5)
    return logs.read()[0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("id",), "x"),
        (("ts",), "2026-11-24T05:56:03Z"),
        (("level",), "info"),
        (("pid",), "1"),
        (("server",), ...),
        (("event",), "other"),
        (("fields",), []),
        (("fields", "outcome"), "fine"),
        (("fields", "cost", "total"), "0.5"),
        (("fields", "cost", "total"), ...),
        (("fields", "tokens", "prompt"), 1.5),
        (("fields", "tags"), {"a": 1}),
    ],
    ids=str,
)
def test_a_wrong_line_is_refused(path: tuple[str, ...], value: object, record: dict[str, Any]) -> None:
    """The negative control: another type, another value, a key that is missing."""
    VALIDATE["openrouter_cost"](record)
    wrong = copy.deepcopy(record)
    part = wrong
    for key in path[:-1]:
        part = part[key]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value

    with pytest.raises(fastjsonschema.JsonSchemaException):
        VALIDATE["openrouter_cost"](wrong)
