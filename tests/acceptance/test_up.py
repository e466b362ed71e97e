"""What starts the example servers: their toggles, and what it says of a file, a port or a server that is no good."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="the example servers need the extra examples")

UP = Path(__file__).parents[2] / "examples" / "cipher" / "up.py"
_spec = importlib.util.spec_from_file_location("cipher_yml", UP.with_name("cipher_yml.py"))
CIPHER_YML = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(CIPHER_YML)

TELLING = """
import json, os, signal, socket, sys
with open(os.environ["TOLD"], "w") as file:
    json.dump({key: value for key, value in os.environ.items() if key.startswith("LOG_")}, file)
if "ENDS" in os.environ:
    sys.exit(7)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
signal.pause()
"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def start(folder: Path, port: int, more: str) -> subprocess.Popen[str]:
    """up.py with one server, which tells its toggles and then listens, or with ENDS ends."""
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


SERVER = "script: servers/health_server.py"
ONE = f"servers: {{one: {{{SERVER}, port: 1, env: %s}}}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["No such file", "cipher.yml"]),
        ("servers: [a", ["expected ',' or ']'", "line 1, column 12"]),
        ("servers: {one: {port: 1}, two: {port: 2}, one: {port: 3}}", ["'one' stands twice", "line 1"]),
        (ONE % "{LOG_DIR: a, LOG_DIR: b}", ["'LOG_DIR' stands twice"]),
        ("", ["`servers:`"]),
        ("servers:", ["`servers:`"]),
        ("server: {}", ["`servers:`"]),
        ("servers: {one: }", ["one: "]),
        (f"servers: {{one: {{{SERVER}}}}}", ["one: ", "missing", "`port`"]),
        ("servers: {one: {port: 1}}", ["one: ", "missing", "`script`"]),
        ("servers: {one: {script: no.py, port: 1}}", ["one: script: ", "no file", "no.py"]),
        (f"servers: {{one: {{{SERVER}, port: http}}}}", ["one: ", "`int`", "`$.port`"]),
        (f"servers: {{one: {{{SERVER}, port: 65536}}}}", ["one: ", "<= 65535", "`$.port`"]),
        (f"servers: {{one: {{{SERVER}, prot: 1}}}}", ["one: ", "unknown field `prot`"]),
        (ONE % "[a]", ["one: ", "`$.env`"]),
        (ONE % "{LOG_DIR: [a]}", ["one: env: LOG_DIR: ", "['a']"]),
        (ONE % "{LOG_DIR: {b: c}}", ["one: env: LOG_DIR: ", "{'b': 'c'}"]),
        (ONE % '{"A=B": C}', ["one: env: ", "'A=B'", "cannot hold"]),
        (ONE % r'{A: "\0"}', ["one: env: ", "'A'", "cannot hold"]),
        (ONE % "{LOG_LEVL: INFO}", ["one: env: ", "LOG_LEVL", "LOG_LEVEL, "]),
        (ONE % "{LOG_BACKUPS: many}", ["one: env: LOG_BACKUPS: ", "'many'"]),
    ],
)
def test_what_is_wrong_with_the_file_is_said(text: str | None, words: list[str], tmp_path: Path) -> None:
    """The server and the key are named, or the line and column where it is no YAML."""
    if text is not None:
        (tmp_path / "cipher.yml").write_text(text)

    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words tell
        CIPHER_YML.read(tmp_path / "cipher.yml")
    assert [word for word in words if word not in str(caught.value)] == []


def test_what_is_wrong_ends_it_with_a_line(tmp_path: Path, port: int) -> None:
    """The file is named, the exit code is not 0, and nothing is started."""
    with start(tmp_path, port, ", env: {LOG_LEVL: INFO}") as process:
        out, errors = process.communicate(timeout=30)

    assert (process.returncode, out, errors.count("\n")) == (1, "", 1), errors
    assert errors.startswith(f"{tmp_path / 'cipher.yml'}: one: env: ")
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize("other", ["program", "server"])
def test_a_port_that_another_has_is_refused(other: str, tmp_path: Path, port: int) -> None:
    """A foreign program there is not taken for our own, two servers cannot share one, and none is started."""
    more = f"}}\n  two: {{script: {tmp_path}/telling.py, port: {port}" if other == "server" else ""
    foreign = socket.create_server(("127.0.0.1", 0 if other == "server" else port))
    with foreign, start(tmp_path, port, more) as process:
        out, errors = process.communicate(timeout=30)

    name = "two" if other == "server" else "one"
    assert (process.returncode, out) == (1, "")
    assert f": {name}: port {port}: Address already in use: " in errors
    assert not (tmp_path / "told").exists()


def test_a_server_that_ends_is_not_up(tmp_path: Path, port: int) -> None:
    """It is named at once, with its port and status, and those that were started before it are ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    more = f"}}\n  two: {{script: {tmp_path}/telling.py, port: {free}, env: {{ENDS: now}}"
    with start(tmp_path, port, more) as process:
        out, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert errors.startswith(f"two: ended with status 7 at port {free}; ")
    assert out.startswith("one pid ")
    with pytest.raises(ProcessLookupError):
        os.kill(int(out.split()[2]), 0)


def test_a_server_that_is_killed_is_told(tmp_path: Path, port: int) -> None:
    """By name; without any server there is nothing left to do."""
    with start(tmp_path, port, "") as process:
        os.kill(int(process.stdout.readline().split()[2]), signal.SIGKILL)
        _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (1, "one: ended with status -9; the others run on\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_server_is_left(number: signal.Signals, tmp_path: Path, port: int) -> None:
    """Whichever signal ends it, also that of a terminal that is closed."""
    with start(tmp_path, port, "") as process:
        server = int(process.stdout.readline().split()[2])
        process.send_signal(number)
        process.wait(timeout=30)

    with pytest.raises(ProcessLookupError):
        os.kill(server, signal.SIGKILL)


def test_the_real_service_needs_a_key() -> None:
    """It is asked for before anything is started."""
    environment = {key: value for key, value in os.environ.items() if key != "OPENROUTER_API_KEY"}
    done = subprocess.run(
        [sys.executable, UP, "--real"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "OPENROUTER_API_KEY" in done.stderr
