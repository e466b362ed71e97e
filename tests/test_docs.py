"""The documentation says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cipherlog_core import FileStats, Settings
from cipherlog_core.reading import Choice
from openrouter_tap import CallError, CallEvent, Cost, Tokens
from openrouter_tap._event import Endpoint, Outcome

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "cipher" / "README.md"]
EXAMPLES = [
    pytest.param(code, id=f"{page.stem} {number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"<!-- run -->\n```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_run(code: str, tmp_path: Path) -> None:
    """Each example that claims to run does, in an empty folder, without a warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_examples() -> None:
    """The pattern that finds them is not blind."""
    assert len(EXAMPLES) >= 8


def test_every_field_is_documented() -> None:
    """And each value that a field can have."""
    page = (ROOT / "docs" / "reference" / "record.md").read_text()
    fields = {field.name for kind in (CallEvent, Tokens, Cost, CallError) for field in msgspec.structs.fields(kind)}
    values = {*Endpoint.__args__, *Outcome.__args__}

    assert {name for name in fields | values if f"`{name}`" not in page} == set()


def test_every_setting_is_documented_with_its_default() -> None:
    """A row for each variable."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for choice in Choice.all_in({}):
        assert f"| `{choice.variable}` | `{choice.field}` | `{choice.value}` |" in page
    assert len(list(Choice.all_in({}))) == len(msgspec.structs.fields(Settings)) - 1  # all but on_segment_closed


def test_every_count_is_documented() -> None:
    """Where a program is told to look."""
    page = (ROOT / "docs" / "how-to" / "server-logging.md").read_text()

    assert [name for name in FileStats.__struct_fields__ if f"| `{name}` |" not in page] == []


def test_every_test_that_the_docs_name_exists() -> None:
    """A promise names the test that proves it."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}

    assert named
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_links_lead_somewhere() -> None:
    """Each relative link is a file."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
