"""Start the servers of cipher.yml against the OpenRouter look-alike, or with --real against OpenRouter itself."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import yaml

from openrouter_tap.simulator import running

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "cipher.yml")
    parser.add_argument("--real", action="store_true", help="needs OPENROUTER_API_KEY, and costs money")
    options = parser.parse_args()
    # Each value as the text that is written: 0640 is no 416, and off no False.
    servers = yaml.load(options.config.read_text(), yaml.BaseLoader)["servers"]  # noqa: S506  it makes only text
    toggles = {name: environment_of(name, it) for name, it in servers.items()}
    for name, it in servers.items():
        must_be_free(name, int(it["port"]))
    health_of = ",".join(
        f"{name}=http://127.0.0.1:{it['port']}/stats" for name, it in servers.items() if name != "health"
    )
    environment = {**os.environ, "HEALTH_OF": health_of}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        if not options.real:
            origin = stack.enter_context(running())
            environment |= {"OPENROUTER_BASE_URL": f"{origin}/api/v1", "OPENROUTER_API_KEY": "look-alike"}
            environment["OPENROUTER_TAP_HOSTS"] = origin.removeprefix("http://")
        started = {}
        for name, it in servers.items():
            command = [sys.executable, str(HERE / it["script"]), "--port", it["port"]]
            started[name] = subprocess.Popen(command, env={**environment, **toggles[name]})
            stack.callback(end, started[name])
        for name, it in servers.items():
            wait_for(name, int(it["port"]), started[name])
            print(name, f"pid {started[name].pid}", f"http://127.0.0.1:{it['port']}", flush=True)
        signal.pause()


def environment_of(name: str, server: dict[str, Any]) -> dict[str, str]:
    """The `env` of a server, if it has one."""
    found = server.get("env") or {}
    if not isinstance(found, dict):
        sys.exit(f"{name}: env is no mapping of names to values")
    for key, value in found.items():
        if not isinstance(value, str):
            sys.exit(f"{name}: env: {key}: {value!r} is no text, number or switch")
    return found


def must_be_free(name: str, port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        sys.exit(f"{name}: port {port} cannot be had: {os.strerror(error.errno or 0)}")


def wait_for(name: str, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    sys.exit(f"{name}: nothing of its own answers at port {port}: {process.args}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    main()
