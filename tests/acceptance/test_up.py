"""What starts the example servers: their toggles, and ports that are not theirs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="the example servers need the extra examples")

UP = Path(__file__).parents[2] / "examples" / "cipher" / "up.py"
TELLING = """
import json, os, signal, socket, sys
with open(os.environ["TOLD"], "w") as file:
    json.dump({key: value for key, value in os.environ.items() if key.startswith("LOG_")}, file)
if "LOG_LEVEL" in os.environ:
    sys.exit(1)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
signal.pause()
"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def start(folder: Path, port: int, more: str) -> subprocess.Popen[str]:
    """up.py with one server, which tells its toggles and then listens, or with LOG_LEVEL ends."""
    (folder / "telling.py").write_text(TELLING)
    config = folder / "cipher.yml"
    config.write_text(f"servers:\n  one: {{script: {folder}/telling.py, port: {port}{more}}}\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOG_")}
    return subprocess.Popen(
        [sys.executable, str(UP), "--config", str(config)],
        env={**environment, "TOLD": str(folder / "told")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (", env: {LOG_JSON: false, LOG_ROTATE_SIZE: 1000}", {"LOG_JSON": "false", "LOG_ROTATE_SIZE": "1000"}),
        (', env: {LOG_JSON: "True", LOG_DIR: logs}', {"LOG_JSON": "True", "LOG_DIR": "logs"}),
        (", env: {LOG_FILE_MODE: 0640, LOG_CONSOLE: off}", {"LOG_FILE_MODE": "0640", "LOG_CONSOLE": "off"}),
        ("", {}),
        (", env: ", {}),
    ],
)
def test_toggles_reach_a_server_as_text(env: str, told: dict[str, str], tmp_path: Path, port: int) -> None:
    """YAML's own switches and numbers need no quotes, and a server needs no `env`."""
    with start(tmp_path, port, env) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        _, errors = process.communicate(timeout=30)

    assert (line.split()[-1:], errors) == ([f"http://127.0.0.1:{port}"], "")
    assert json.loads((tmp_path / "told").read_text()) == told


@pytest.mark.parametrize(
    ("env", "words"),
    [("{LOG_DIR: [a]}", ["LOG_DIR", "['a']"]), ("{LOG_DIR: {b: c}}", ["LOG_DIR", "{'b': 'c'}"]), ("[a]", ["env"])],
)
def test_what_is_no_toggle_is_said_in_a_line(env: str, words: list[str], tmp_path: Path, port: int) -> None:
    """The server and the key are named, and nothing is started."""
    with start(tmp_path, port, f", env: {env}") as process:
        out, errors = process.communicate(timeout=30)

    assert (process.returncode, out, errors.count("\n")) == (1, "", 1), errors
    assert all(word in errors for word in ["one: ", *words])
    assert not (tmp_path / "told").exists()


def test_a_port_that_another_has_is_refused(tmp_path: Path) -> None:
    """A foreign server there is not taken for our own, and none is started beside it."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        with start(tmp_path, port, "") as process:
            out, errors = process.communicate(timeout=30)

    assert (process.returncode, out) == (1, "")
    assert errors == f"one: port {port} cannot be had: Address already in use\n"
    assert not (tmp_path / "told").exists()


def test_a_server_that_ends_is_not_up(tmp_path: Path, port: int) -> None:
    """It is named, with its port, at once and not after the time in which it should have answered."""
    with start(tmp_path, port, ", env: {LOG_LEVEL: INFO}") as process:
        out, errors = process.communicate(timeout=20)

    assert (process.returncode, out) == (1, "")
    assert errors.startswith(f"one: nothing of its own answers at port {port}: ")
