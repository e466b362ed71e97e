"""A steady load: nothing is lost, and nothing grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conftest import content

from cipherlog_core.reading import segments
from cipherlog_core.schemas import Record


class Numbered(msgspec.Struct):
    producer: str
    seq: int


@pytest.mark.parametrize(
    ("events", "warm_up", "segment"),
    [(30_000, 2, "1MB"), pytest.param(3_000_000, 60, "10MB", marks=pytest.mark.soak)],
    ids=["six seconds", "ten minutes"],
)
def test_five_thousand_events_a_second(events: int, warm_up: int, segment: str, tmp_path: Path) -> None:
    """With rotation and gzip: the exact set, memory, threads and descriptors as they were after the warm-up."""
    environment = {
        **os.environ,
        "LOG_DIR": str(tmp_path),
        "LOG_ROTATE_SIZE": segment,
        "LOG_BACKUPS": "0",
        "LOG_GZIP_AFTER": "0",
    }
    script = str(Path(__file__).with_name("sustained.py"))
    command = [sys.executable, script, str(events), "5000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)

    decode = msgspec.json.Decoder(Record[Numbered]).decode
    seen, lines = bytearray(events), 0
    paths = segments(str(tmp_path), "app.jsonl")
    for path in paths:
        for line in content(path).split(b"\n")[:-1]:
            seen[decode(line).fields.seq] += 1
            lines += 1
    memory, threads, descriptors = zip(*facts["samples"][warm_up:], strict=True)
    print(f"{facts['took']:.0f} s, {len(paths)} files, {memory[0]} to {max(memory)} KiB, {threads[0]} threads")
    assert (facts["kept"], facts["dropped"], lines, set(seen)) == (events, 0, events, {1})
    assert max(memory) - memory[0] <= 10 << 10
    assert set(threads) == {threads[0]}
    assert max(descriptors) - min(descriptors) <= 3  # those of a segment that is being compressed come and go
