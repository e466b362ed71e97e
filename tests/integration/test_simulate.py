"""`openrouter-tap simulate`, as a process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import httpx

COMMAND = [sys.executable, "-m", "openrouter_tap", "simulate", "--port"]
ASKED = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
KEY = {"Authorization": "Bearer local"}


def test_the_base_url_that_it_prints_answers_and_ctrl_c_ends_it_well() -> None:
    """The first line of stdout is a base URL whose chat replies carry a cost; SIGINT ends it with 0."""
    with subprocess.Popen([*COMMAND, "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            base = server.stdout.readline().strip()
            reply = httpx.post(f"{base}/chat/completions", json=ASKED, headers=KEY, timeout=10)
            assert reply.json()["usage"]["cost"] > 0
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0
        finally:
            server.kill()


def test_a_port_that_is_taken_is_told() -> None:
    """Exit code 1, and a message that names the port and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run([*COMMAND, port], check=False, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 1
    assert f"port {port} cannot be had" in ended.stderr
    assert "--port" in ended.stderr
