"""Processes that log, for tests that kill them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PRODUCER = Path(__file__).with_name("producer.py")


def acknowledged_in(acks: Path) -> int:
    return int.from_bytes(acks.read_bytes()[:8], sys.byteorder)


@dataclass
class Producer:
    """A process that logs numbered events to a folder."""

    name: str
    process: subprocess.Popen[bytes]
    acks: Path

    @property
    def acknowledged(self) -> int:
        """How many events, from 0 on, it has been told to be safe."""
        return acknowledged_in(self.acks)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass
class Producers:
    """Starts producers, and what recovers after them."""

    folder: Path
    settings: dict[str, str]

    def start(self, name: str, *arguments: object) -> Producer:
        acks = self.folder.parent / f"{name}.acks"
        acks.write_bytes(bytes(4096))
        command = [sys.executable, str(PRODUCER), name, str(acks), *map(str, arguments)]
        return Producer(name, subprocess.Popen(command, env=self.environment), acks)

    def recover(self) -> None:
        """What the next start of any program does."""
        code = "import cipherlog_core as c; c.start('app'); assert c.stop()"
        subprocess.run([sys.executable, "-c", code], env=self.environment, check=True, timeout=60)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings, "LOG_DIR": str(self.folder)}
