"""`openrouter-tap simulate`, as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import httpx

COMMAND = [sys.executable, "-m", "openrouter_tap", "simulate", "--port"]
ASKED = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
KEY = {"Authorization": "Bearer local"}


def test_the_base_url_that_it_prints_answers_and_ctrl_c_ends_it_well() -> None:
    """The first line of stdout is a base URL whose chat replies carry a cost; SIGINT ends it with 0."""
    with subprocess.Popen([*COMMAND, "0"], stdout=PIPE, text=True) as server:
        try:
            assert server.stdout
            base = server.stdout.readline().strip()
            reply = httpx.post(f"{base}/chat/completions", json=ASKED, headers=KEY, timeout=10)
            assert reply.json()["usage"]["cost"] > 0
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0
        finally:
            server.kill()


def test_a_program_that_is_given_what_it_prints_is_metered(tmp_path: Path) -> None:
    """The last line of stderr has the base URL and the host to tap; both in its environment, a call leaves its line."""
    code = (
        "import httpx, os; httpx.post(os.environ['OPENAI_BASE_URL'] + '/chat/completions', json={json}, headers={key})"
    )
    with subprocess.Popen([*COMMAND, "0"], stdout=PIPE, stderr=PIPE, text=True) as server:
        try:
            assert server.stdout
            base = server.stdout.readline().strip()
            given = {"OPENAI_BASE_URL": base, "OPENROUTER_TAP_HOSTS": httpx.URL(base).netloc.decode()}
            subprocess.run(
                [*COMMAND[:3], "run", "-c", code.format(json=ASKED, key=KEY)],
                env={**os.environ, "LOG_DIR": str(tmp_path), **given},
                timeout=60,
                check=True,
            )
            server.send_signal(signal.SIGINT)
            told = server.communicate(timeout=10)[1].splitlines()
        finally:
            server.kill()

    assert told[-1] == " ".join(f"{name}={value}" for name, value in given.items())
    (line,) = (tmp_path / "openrouter-costs.jsonl").read_text().splitlines()
    assert json.loads(line)["fields"]["host"] == "127.0.0.1"


def test_a_port_that_is_taken_is_told() -> None:
    """Wrong usage, and a message that names the port and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run([*COMMAND, port], check=False, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2
    assert f"port {port} cannot be had" in ended.stderr
    assert "--port" in ended.stderr
