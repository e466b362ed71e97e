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

from cipher_yml import HERE, Server, read

from openrouter_tap.simulator import running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "cipher.yml")
    parser.add_argument("--real", action="store_true", help="needs OPENROUTER_API_KEY, and costs money")
    options = parser.parse_args()
    if options.real and not os.environ.get("OPENROUTER_API_KEY"):
        parser.error("--real needs OPENROUTER_API_KEY in the environment")
    try:
        servers = read(options.config)
        must_be_free(servers)
    except ValueError as error:
        sys.exit(f"{options.config}: {error}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: sys.exit())
    health_of = ",".join(f"{name}=http://127.0.0.1:{it.port}/stats" for name, it in servers.items() if name != "health")
    environment = {**os.environ, "HEALTH_OF": health_of}
    with ExitStack() as stack, suppress(KeyboardInterrupt):  # whatever happens, what was started is ended
        if not options.real:
            origin = stack.enter_context(running())
            environment |= {"OPENROUTER_BASE_URL": f"{origin}/api/v1", "OPENROUTER_API_KEY": "look-alike"}
            environment["OPENROUTER_TAP_HOSTS"] = origin.removeprefix("http://")
        started = {}
        for name, it in servers.items():
            command = [sys.executable, str(HERE / it.script), "--port", str(it.port)]
            started[name] = subprocess.Popen(command, env={**environment, **it.env})
            stack.callback(end, started[name])
        for name, it in servers.items():
            wait_for(name, it.port, started[name])
            print(name, f"pid {started[name].pid}", f"http://127.0.0.1:{it.port}", flush=True)
        watch(started)


def must_be_free(servers: dict[str, Server]) -> None:
    """A `ValueError` for a port that another program has, or that two servers want."""
    with ExitStack() as stack:
        for name, it in servers.items():
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", it.port)))
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ValueError(f"{name}: port {it.port}: {reason}: free it, or choose another") from error


def wait_for(name: str, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    how = "does not answer" if process.returncode is None else f"ended with status {process.returncode}"
    sys.exit(f"{name}: {how} at port {port}; why is told above, or in its log")


def watch(started: dict[str, subprocess.Popen[bytes]]) -> None:
    """Tell of each server that ends, until none is left."""
    for _ in started:
        pid, status = os.wait()
        name = next(name for name, process in started.items() if process.pid == pid)
        how = os.waitstatus_to_exitcode(status)
        print(f"{name}: ended with status {how}; the others run on", file=sys.stderr, flush=True)
    sys.exit(1)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    main()
