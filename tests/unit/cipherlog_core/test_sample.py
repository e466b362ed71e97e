from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import Logs

import cipherlog_core
from cipherlog_core._sample import is_kept

STEP = {"phase": "start", "method": "GET", "host": "h", "path": "/x", "http_status": None, "latency_ms": None}


@pytest.mark.parametrize("one_in", [2, 10])
def test_one_in_n(one_in: int) -> None:
    """Without a session exactly each Nth; over sessions about one in N of them."""
    assert sum(is_kept(None, one_in) for _ in range(1000)) == 1000 // one_in
    share = sum(is_kept(f"session {number}", one_in) for number in range(10_000)) / 10_000
    assert share == pytest.approx(1 / one_in, rel=0.1)


def test_a_session_is_kept_or_left_out_as_a_whole() -> None:
    """In this process and in any other."""
    sessions = [f"session {number}" for number in range(50)]
    code = f"from cipherlog_core._sample import is_kept; print([is_kept(s, 3) for s in {sessions!r}])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    kept = [is_kept(session, 3) for session in sessions]
    assert str(kept) == other.stdout.strip()
    assert kept == [is_kept(session, 3) for session in sessions]


def test_http_events_are_sampled_and_weighed(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ``http`` events at DEBUG; each says for how many it stands."""
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("LOG_SAMPLE_HTTP", "10")
    logger = cipherlog_core.start("app")
    before = cipherlog_core.stats().files["app.jsonl"].dropped
    kept = [logger.event("http", level="DEBUG", **STEP) for _ in range(100)]
    for _ in range(5):
        logger.event("http", level="INFO", sample_weight=1, **STEP)
        logger.event("other", level="DEBUG")

    records = logs.read("app")
    assert sum(kept) == 10
    assert [r["fields"] for r in records if (r["event"], r["level"]) == ("http", "DEBUG")] == [
        {**STEP, "sample_weight": 10}
    ] * 10
    assert len(records) == 20
    assert cipherlog_core.stats().files["app.jsonl"].dropped == before
