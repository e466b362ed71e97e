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

NEEDS = ("openai", "openrouter", "gunicorn", "gevent", "celery", "ddtrace", "opentelemetry.distro")
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


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn_with_two_workers(kind: str, folder: Path, tapped: LookAlike, logs: Logs) -> None:
    """Forked workers, each call once; gevent's patching is not too late."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with running(folder, "-m", "gunicorn", "-k", kind, "-w", "2", "-b", address, "web:app"):
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
    assert "Warning" not in (folder / "output").read_text()


OTHERS = {
    "below OpenTelemetry": ["opentelemetry-instrument", *RUN, "family.py"],
    "below Datadog": ["ddtrace-run", *RUN, "family.py"],
    "above Datadog": [*RUN, "ddtrace-run", sys.executable, "family.py"],
}


def silence_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    for signals in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signals}_EXPORTER", "none")


@pytest.mark.parametrize("how", OTHERS)
def test_beside_another_sitecustomize(
    how: str, folder: Path, tapped: LookAlike, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of OpenTelemetry and Datadog are run as well, in the program and in its child; each call once."""
    name = "ddtrace" if "Datadog" in how else "opentelemetry.instrumentation"
    (folder / "family.py").write_text(
        "import calls, os, subprocess, sys\n"
        "if __name__ == '__main__':\n"  # ddtrace imports it as well, to name the service
        f"    assert any(one.startswith({name!r}) for one in sys.modules)\n"
        "    calls.both()\n"
        "    if 'CHILD' not in os.environ:\n"
        "        subprocess.run([sys.executable, __file__], env={**os.environ, 'CHILD': ''}, check=True)\n"
    )
    silence_opentelemetry(monkeypatch)
    for feature in ("TRACE", "INSTRUMENTATION_TELEMETRY", "REMOTE_CONFIGURATION"):
        monkeypatch.setenv(f"DD_{feature}_ENABLED", "false")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    done = subprocess.run(OTHERS[how], cwd=folder, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, done.stderr
    each_once(logs, tapped, 4)


def test_opentelemetry_on_the_wrong_side(folder: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs no `sitecustomize` but its own: the program runs untapped, and who started it is told."""
    silence_opentelemetry(monkeypatch)
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    command = [*RUN, str(program), sys.executable, "-c", "import calls; calls.both()"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert "it belongs in front: opentelemetry-instrument openrouter-tap run" in done.stderr
    assert logs.read() == []


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
