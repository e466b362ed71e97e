"""The servers of examples/cipher as real processes, and what they log."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from benchmarks.sustained import environment_for
from conftest import checked, content
from mcp import Client, StdioServerParameters

from cipherlog_core.reading import recover, segments

CIPHER = Path(__file__).parents[2] / "examples" / "cipher"
SETTINGS = yaml.safe_load((CIPHER / "cipher.yml").read_text())


def stdio(script: str, origin: str, folder: Path, **settings: str) -> Client:
    """A client that starts an example server itself."""
    environment = environment_for(origin, folder, **settings)
    return Client(
        StdioServerParameters(command=sys.executable, args=[str(CIPHER / "servers" / script)], env=environment)
    )


def records(folder: Path, stem: str) -> list[dict[str, Any]]:
    """All records of a log, each of its schema, when what ended processes left has been brought in."""
    recover(str(folder))
    lines = [line for path in segments(str(folder), f"{stem}.jsonl") for line in content(path).split(b"\n")]
    return [checked(line) for line in lines if line]


@dataclass
class Fleet:
    folder: Path
    urls: dict[str, str]
    pids: dict[str, int]


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """What up.py starts, on free ports."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in SETTINGS["servers"]]
    servers = {
        name: {**server, "port": one.getsockname()[1], "env": {**server["env"], "LOG_DIR": str(folder / "logs")}}
        for one, (name, server) in zip(free, SETTINGS["servers"].items(), strict=True)
    }
    for one in free:
        one.close()
    config = folder / "cipher.yml"
    config.write_text(yaml.safe_dump({"servers": servers}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOG_", "OPENROUTER_"))}
    command = [sys.executable, str(CIPHER / "up.py"), "--config", str(config)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = [process.stdout.readline().split() for _ in servers]
            yield Fleet(
                folder / "logs",
                {name: url for name, _, _, url in told},
                {name: int(pid) for name, _, pid, _ in told},
            )
        finally:
            process.terminate()
            process.wait(30)
