"""The how-to of each SDK is run as it stands, but for OpenRouter's address."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Logs

from frameworks import ADAPTERS
from look_alike import LookAlike
from test_sdks import server, tapped

__all__ = ["server", "tapped"]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sdks.md"
CODE = dict(re.findall(r"<!-- run with (\w+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
NONE = [pytest.param("", marks=pytest.mark.skip(reason="`nox` runs these, each in an environment with its SDK"))]
HERE = [adapter.__name__ for adapter in ADAPTERS if adapter.is_installed() and adapter.__name__ in CODE]


def test_each_sdk_has_a_how_to() -> None:
    """One for all adapters of a package."""
    assert {adapter.package for adapter in ADAPTERS if adapter.__name__ in CODE} == {one.package for one in ADAPTERS}
    assert len(CODE) == len({one.package for one in ADAPTERS})


@pytest.mark.parametrize("name", HERE or NONE)
def test_how_to(name: str, tapped: LookAlike, logs: Logs) -> None:
    """It ends well, and each of its calls is recorded with its cost."""
    code = CODE[name].replace("https://openrouter.ai", tapped.origin)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENROUTER_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    costs = [record["fields"]["cost"]["total"] for record in logs.read()]

    assert done.returncode == 0, done.stderr
    assert costs == [sent.cost for sent in tapped.sent]
    assert costs
    assert None not in costs
