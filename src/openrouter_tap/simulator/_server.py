"""Run an ASGI app on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from openrouter_tap.simulator._app import create_app

__all__ = ["running"]


@contextmanager
def running(app: Any = None, *, port: int = 0) -> Iterator[str]:
    """Serve *app* (default `create_app()`) from a thread, on 127.0.0.1 only; the value is its origin.

    *port* 0 takes a free one. Raises `OSError` if the port is taken.
    """
    with socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    ) as listener:  # named, so asyncio sets NODELAY
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        config = uvicorn.Config(
            app or create_app(),
            log_config=None,
            log_level="critical",
            lifespan="off",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True)
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(5)
