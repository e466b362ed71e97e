"""What the operator is told, and how often."""

from __future__ import annotations

import pytest

from cipherlog_core._notice import Notices


def test_kinds_that_never_end_are_not_told_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """Each once, and no more than 1,000 in all: some bear the name of what a program passes."""
    notice = Notices("test_notice")
    for number in range(2000):
        notice(f"level {number}", "no level")
        notice(f"level {number}", "no level")

    assert len(caplog.records) == len(notice._seen) == 1000
