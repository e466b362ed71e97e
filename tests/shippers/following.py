"""What a shipper's test starts: a producer of numbered lines, and the oracle that counts what arrived."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conftest import checked, content

from cipherlog_core.reading import logs, segments

DEPLOY = Path(__file__).parents[2] / "deploy"
_PRODUCER = Path(__file__).with_name("numbered.py")


@dataclass
class Verdict:
    """What arrived, compared with the lines on disk; all empty when it is right."""

    missing: set[bytes] = field(default_factory=set)
    doubled: set[bytes] = field(default_factory=set)
    invented: set[bytes] = field(default_factory=set)
    """Cut lines, changed lines."""


RIGHT = Verdict()


def on_disk(folder: Path, *, is_closed: bool = False) -> Counter[bytes]:
    """The lines of all logs in *folder*, or of their closed segments only, each of its schema."""
    lines: Counter[bytes] = Counter()
    for name in logs(str(folder)):
        for path in segments(str(folder), name):
            if is_closed and Path(path).name == name:
                continue
            lines.update(line for line in content(path).split(b"\n") if line)
    assert all(checked(line) and count == 1 for line, count in lines.items())
    return lines


def judge(written: Counter[bytes], arrived: Counter[bytes]) -> Verdict:
    return Verdict(
        written.keys() - arrived.keys(),
        {line for line, count in arrived.items() if count > 1},
        arrived.keys() - written.keys(),
    )


def rotations(folder: Path) -> tuple[int, int]:
    """The closed segments of all logs in *folder*, and how many of them are compressed."""
    names = [path.name for path in folder.glob("*T*Z-*.jsonl*")]
    return len(names), sum(name.endswith(".gz") for name in names)


@contextlib.contextmanager
def producing(folder: Path, count: int, per_second: int, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that logs to *folder* in small segments, all of which are kept."""
    chosen = {"LOG_ROTATE_SIZE": 16_384, "LOG_BACKUPS": 0, "LOG_GZIP_AFTER": 5, **settings}
    environment = dict(os.environ) | {name: str(value) for name, value in chosen.items()} | {"LOG_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, _PRODUCER, str(count), str(per_second)], env=environment)
    try:
        yield process
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait(10)


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it became so in time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
