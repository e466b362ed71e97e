"""The oracle itself: a log that is wrong must be called wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from oracle import RIGHT, judge

SEED = 7


def numbered(seq: int) -> str:
    """A line as the logger writes it."""
    head = {"schema": 1, "id": f"{seq:016}{seq:013x}", "ts": "2026-11-24T00:00:00.000000Z", "level": "INFO"}
    ids = {"server": "app", "tool": None, "session_id": None, "request_id": None}
    record = {**head, "logger": "app", "pid": 1, "thread": "MainThread", **ids}
    return json.dumps({**record, "event": "numbered", "fields": {"producer": "a", "seq": seq}}) + "\n"


@pytest.mark.parametrize(("fault", "share"), [("missing", 0.05), ("doubled", 0.05), ("torn", 0.01), ("none", 0)])
def test_a_bad_writer_is_caught(fault: str, share: float, tmp_path: Path) -> None:
    """A writer that drops, doubles or tears a few of its lines; and one that does not."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    with (tmp_path / "app.jsonl").open("w") as file:
        for seq in range(2000):
            line = numbered(seq)
            hit = rng.random() < share
            file.write({"missing": "", "doubled": line * 2, "torn": line[:20]}[fault] if hit else line)

    verdict = judge(tmp_path, {"a": 2000})
    assert bool(getattr(verdict, fault, None)) == (fault != "none")
    assert (verdict == RIGHT) == (fault == "none")


def test_more_than_the_event_under_way_is_caught(tmp_path: Path) -> None:
    """One event may be in the log though its call did not return; two may not."""
    lines = [numbered(seq) for seq in range(3)]
    (tmp_path / "app.jsonl").write_text("".join(lines))

    assert judge(tmp_path, {"a": 2}) == RIGHT
    assert judge(tmp_path, {"a": 1}).invented == {("a", 2)}
