"""Unchanged programs that use openai 3 (httpx2) and the openrouter SDK (httpx) side by side, under `run`."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Logs

from look_alike import LookAlike
from test_sdks import server, tapped

__all__ = ["server", "tapped"]

NEEDS = ("openai", "openrouter", "gunicorn", "celery")
if not all(importlib.util.find_spec(name) for name in NEEDS):
    pytest.skip(f"{', '.join(NEEDS)} are not all installed: `nox` runs these with them", allow_module_level=True)

RUN = [sys.executable, "-m", "openrouter_tap", "run", "--"]
CALLS = """
import os
from openai import OpenAI
from openrouter import OpenRouter

BASE = os.environ["BASE"]
MESSAGES = [{"role": "user", "content": "hello"}]

def both():
    OpenAI(base_url=BASE, api_key="x").chat.completions.create(model="openai/gpt-4o-mini", messages=MESSAGES)
    OpenRouter(api_key="x", server_url=BASE).chat.send(model="openai/gpt-4o-mini", messages=MESSAGES)
"""
WEB = """
import calls

def app(environ, start_response):
    if environ["PATH_INFO"] != "/up":
        calls.both()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
TASKS = """
import os
from celery import Celery
import calls

app = Celery("tasks", broker="filesystem://", backend="file://" + os.path.abspath("results"))
app.conf.broker_transport_options = dict.fromkeys(("data_folder_in", "data_folder_out"), os.path.abspath("queue"))
app.conf.broker_transport_options |= {"control_folder": os.path.abspath("control")}

@app.task
def work():
    calls.both()
    return os.getpid()
"""


@pytest.fixture
def folder(tmp_path: Path, tapped: LookAlike, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASE", f"{tapped.origin}/api/v1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, text in {"calls": CALLS, "web": WEB, "tasks": TASKS}.items():
        (tmp_path / f"{name}.py").write_text(text)
    for name in ("queue", "results", "control"):
        (tmp_path / name).mkdir()
    return tmp_path


@contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (
        open(folder / "output", "wb") as output,
        subprocess.Popen([*RUN, *command], cwd=folder, stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def each_once(logs: Logs, sent: LookAlike, calls: int) -> None:
    """Each call that reached the look-alike has one line."""
    found = [record["fields"] for record in logs.read()]

    assert len(found) == calls
    assert sorted(call["generation_id"] for call in found) == sorted(str(one.generation_id) for one in sent.sent)
    assert sorted(call["cost"]["total"] for call in found) == sorted(one.cost or 0 for one in sent.sent)


def test_a_script(folder: Path, tapped: LookAlike, logs: Logs) -> None:
    """Both SDKs in one process, each call once."""
    done = subprocess.run([*RUN, "-c", "import calls; calls.both()"], cwd=folder, timeout=60, check=False)

    assert done.returncode == 0
    each_once(logs, tapped, 2)


def test_gunicorn_with_two_workers(folder: Path, tapped: LookAlike, logs: Logs) -> None:
    """Forked workers, each call once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with running(folder, "-m", "gunicorn", "-w", "2", "-b", address, "web:app"):
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/up", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "output").read_text()
                time.sleep(0.05)
        for _ in range(10):
            urllib.request.urlopen(f"http://{address}/", timeout=30).close()

    each_once(logs, tapped, 20)


def test_celery_with_prefork(folder: Path, tapped: LookAlike, logs: Logs) -> None:
    """Two forked workers of celery: each call once, and none in the parent."""
    send = "import tasks; print(len({r.get(timeout=40) for r in [tasks.work.delay() for _ in range(6)]}))"
    with running(folder, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "-c", "2") as worker:
        done = subprocess.run(
            [sys.executable, "-c", send], cwd=folder, env=dict(os.environ), capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, (done.stderr, (folder / "output").read_text())

    each_once(logs, tapped, 12)
    assert worker.pid not in {record["pid"] for record in logs.read()}
