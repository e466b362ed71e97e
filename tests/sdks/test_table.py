"""What is tried, what the README says is tried, and what the how-tos show are the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from frameworks import ADAPTERS
from test_how_to import CODE

ROOT = Path(__file__).parents[2]
ALL = {adapter.__name__: adapter for adapter in ADAPTERS}
TRIED = tomllib.loads(Path(__file__).with_name("versions.toml").read_text())
ROW = re.compile(r"^\| [^|]+ \| `([^`|]+==[^`|]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = {package: row for package, *row in ROW.findall((ROOT / "README.md").read_text())}
SESSIONS = [name for name, session in TRIED.items() if session["adapters"]]


def test_each_adapter_is_tried() -> None:
    """And none that is not there: each in the session that has its package."""
    names = [name for session in TRIED.values() for name in session["adapters"]]

    assert set(names) == set(ALL)
    for session in TRIED.values():
        packages = {re.split(r"\[|==", package)[0] for package in session["packages"]}
        assert {ALL[name].package for name in session["adapters"]} <= packages


def test_each_sdk_has_its_row() -> None:
    """With the version that is tried, the same in each session of that major version, and no other has one."""
    assert set(ROWS) == {package for session in TRIED.values() for package in session["packages"]}


@pytest.mark.parametrize("session", SESSIONS)
def test_the_row_of_an_sdk(session: str) -> None:
    """It names the door that the tests take, what they find metered, and the line that the how-to has."""
    kinds = [ALL[name] for name in TRIED[session]["adapters"]]
    (package,) = TRIED[session]["packages"]
    door, line, metered = ROWS[package]

    assert door == ("client" if "client" in kinds[0].doors else "all")
    endpoints = dict.fromkeys(kind.endpoint.removesuffix(".completions") for kind in kinds)
    joined = "joined" if kinds[0].links_attempts else "not joined"
    assert metered == f"{', '.join(endpoints)}; each attempt, {joined}"
    code = next(CODE[kind.__name__] for kind in kinds if kind.__name__ in CODE)
    made = re.fullmatch(r"`\w+\((\w+=.+)\)`", line)
    assert (made[1] if made else line.strip("`")) in code
