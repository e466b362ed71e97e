"""Real servers whose own logging configuration points at `CipherHandler`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from conftest import checked, content

from cipherlog_core.reading import segments

UVICORN = """
import copy, logging, sys, uvicorn, uvicorn.config
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

log = logging.getLogger("shop")

async def hello(request):
    log.info("hello", extra={"session_id": request.query_params["s"]})
    if request.query_params["s"] == "fail":
        raise ValueError("as asked")
    return PlainTextResponse("hello")

config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
for handler in config["handlers"].values():
    handler.clear()
    handler |= {"class": "cipherlog_core.CipherHandler", "server": "api"}
config["root"] = {"level": "INFO", "handlers": ["default"]}
uvicorn.run(Starlette(routes=[Route("/", hello)]), port=int(sys.argv[1]), log_config=config)
"""

GUNICORN_CONFIG = """
preload_app = True
workers = 2
accesslog = "-"
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"cipher": {"class": "cipherlog_core.CipherHandler", "server": "web"}},
    "root": {"level": "INFO", "handlers": ["cipher"]},
    "loggers": {"gunicorn.error": {"propagate": True}, "gunicorn.access": {"propagate": True}},
}
"""

GUNICORN_APP = """
import logging, cipherlog_core
from openrouter_tap import log_cost
logger = cipherlog_core.start("web")
logging.getLogger("app").info("loaded")

def app(environ, start_response):
    logging.getLogger("app").info("request", extra={"path": environ["PATH_INFO"]})
    logger.event("handled", path=environ["PATH_INFO"])
    log_cost(model="m", cost=0.5, request_id=environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@contextmanager
def served(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on a free port, which answers already."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {**os.environ, "LOG_DIR": str(folder / "logs"), "LOG_BACKUPS": "0", "PYTHONPATH": str(folder)}
    command = [sys.executable, *(part.replace("PORT", str(port)) for part in command)]
    with subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=30)
    assert errors == b""


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return [
        checked(line)
        for path in segments(str(folder / "logs"), f"{name}.jsonl")
        for line in content(path).split(b"\n")
        if line
    ]


def test_uvicorn(tmp_path: Path) -> None:
    """Its own records, those of accesses and the application's, and an exception as data: one file, one schema."""
    (tmp_path / "serve.py").write_text(UVICORN)
    with served([str(tmp_path / "serve.py"), "PORT"], tmp_path) as (_, origin):
        for number in range(3):
            assert httpx.get(origin, params={"s": f"s{number}"}).text == "hello"
        assert httpx.get(origin, params={"s": "fail"}).status_code == 500

    found = records(tmp_path, "api")
    assert {record["server"] for record in found} == {"api"}
    assert {record["logger"] for record in found} == {"uvicorn.error", "uvicorn.access", "shop"}
    assert [r["session_id"] for r in found if r["logger"] == "shop"] == ["s0", "s1", "s2", "fail"]
    accesses = [r["fields"]["message"].partition(" - ")[2] for r in found if r["logger"] == "uvicorn.access"]
    assert accesses == [*(f'"GET /?s=s{number} HTTP/1.1" 200' for number in range(3)), '"GET /?s=fail HTTP/1.1" 500']
    (failure,) = [record["fields"]["exc"] for record in found if "exc" in record["fields"]]
    assert (failure["type"], failure["message"]) == ("ValueError", "as asked")
    assert failure["stack"][-1].endswith(" in hello")
    assert not any("color_message" in record["fields"] for record in found)  # the message again, for terminals


def test_gunicorn_with_preload(tmp_path: Path) -> None:
    """Two workers forked from a parent that logs; one is killed on the way: each request's records are there once."""
    (tmp_path / "configuration.py").write_text(GUNICORN_CONFIG)
    (tmp_path / "web.py").write_text(GUNICORN_APP)
    command = ["-m", "gunicorn", "-c", str(tmp_path / "configuration.py"), "-b", "127.0.0.1:PORT", "web:app"]
    with served(command, tmp_path) as (process, origin):
        for number in range(40):
            assert httpx.get(f"{origin}/{number}").text == "ok"
            if number == 20:
                workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(workers[0]), signal.SIGKILL)
                time.sleep(0.5)

    found = records(tmp_path, "web")
    paths = [f"/{number}" for number in range(40)]
    for event in ("log", "handled"):
        logged = Counter(
            r["fields"].get("path") for r in found if r["event"] == event and r["logger"] in ("app", "web")
        )
        assert {path: logged[path] for path in paths} == dict.fromkeys(paths, 1)
    assert sorted(r["request_id"] for r in records(tmp_path, "openrouter-costs")) == sorted(paths)
    assert Counter(r["fields"]["message"] for r in found if r["logger"] == "app")["loaded"] == 1
    accesses = [r["fields"]["message"] for r in found if r["logger"] == "gunicorn.access"]
    assert len(accesses) >= 39  # that of the request under way when its worker was killed may be missing
    assert len({r["pid"] for r in found if r["logger"] == "app"}) >= 3
