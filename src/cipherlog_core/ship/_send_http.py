"""OTLP over HTTP, in protobuf."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from cipherlog_core._redact import clean_text
from cipherlog_core.ship._answer import LONGEST_WAIT, SHOWN, Answer, partial_success
from cipherlog_core.ship._options import Destination

__all__ = ["HttpSender"]

_REDIRECTS = 301, 302, 303, 307, 308
_NEVER = (*_REDIRECTS, 501)
_TOLD = re.compile(r"(?<=//)[^/]*@|[?#].*", re.DOTALL)  # parts of a URL that are not: they may be secrets
_MOST = 1 << 16  # bytes of an answer that are read


class HttpSender:
    """Connections to the receiver of one *signal*."""

    def __init__(self, signal: str, destination: Destination) -> None:
        self._signal = signal
        self._to = destination
        self._headers = {
            "User-Agent": "OTLP-Exporter-cipherlog-core",
            **destination.headers,
            "Content-Type": "application/x-protobuf",
        }
        if destination.compression == "gzip":
            self._headers["Content-Encoding"] = "gzip"
        self._connection: Any = None  # the last that was opened, and its socket
        self._socket: Any = None
        self._pool = _pool(destination, self._keep)

    def send(self, request: Any) -> Answer:
        """Send *request*."""
        body = request.SerializeToString()
        if self._to.compression == "gzip":
            body = gzip.compress(body, 6)
        # urllib3 bounds each step of a request, and not the whole of one whose answer comes byte by byte
        timer = threading.Timer(self._to.timeout, self._cut)
        timer.daemon = True
        try:
            with suppress(RuntimeError):  # 3.12 starts no thread while it ends; its end waits for no receiver
                timer.start()
            response = self._pool.request(
                "POST", self._to.url, body=body, headers=self._headers, redirect=False, preload_content=False
            )
            return self._answer(response, _body(response))
        except (urllib3.exceptions.HTTPError, OSError, ValueError, RuntimeError) as error:
            late = f"no answer within {self._to.timeout:g} s, " if timer.finished.is_set() else ""
            return Answer("later", f"{late}{type(error).__name__}: {error}"[:SHOWN])
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _keep(self, connection: Any) -> None:
        self._connection, self._socket = connection, getattr(connection, "sock", None)

    def _cut(self) -> None:
        """End the request at hand, whatever it waits for."""
        open_socket: Any = self._socket or getattr(self._connection, "sock", None)  # the latter in the TLS handshake
        with suppress(OSError, TypeError):  # it is closed, or there is none
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def _answer(self, response: urllib3.BaseHTTPResponse, data: bytes) -> Answer:
        status = response.status
        reason = f"{status} {response.reason or ''}".strip()
        if target := response.headers.get("Location") if status in _REDIRECTS else None:
            return Answer("refused", f"{reason} to {clean_text(_TOLD.sub('', target))}"[:SHOWN])
        if said := " ".join(data[: 8 * SHOWN].decode(errors="replace").split()) if status < 500 else "":  # noqa: PLR2004
            reason = f"{reason}: {clean_text(said)[:SHOWN]}"
        if 200 <= status < 300:  # noqa: PLR2004
            return partial_success(self._signal, data)
        if status == 413:  # noqa: PLR2004
            return Answer("too large", reason)
        if status in _NEVER or (400 <= status < 500 and status not in (408, 429)):  # noqa: PLR2004
            return Answer("refused", reason)
        return Answer("later", reason, _retry_after(response))


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    """The beginning of it; what can be had where it breaks off: the status has told already."""
    data = b""
    try:
        data = response.read(_MOST)
    except (urllib3.exceptions.HTTPError, OSError):
        response.close()
    if response.status >= 300:  # noqa: PLR2004
        response.close()
    response.release_conn()
    return data


def _pool(to: Destination, keep: Callable[[Any], None]) -> urllib3.PoolManager:
    """*keep* gets each connection before it is opened and afterwards."""
    manager = _manager(to)

    def pool_of(kind: Any) -> Any:
        class Connection(kind.ConnectionCls):  # type: ignore[misc]
            def connect(self) -> None:
                keep(self)
                super().connect()
                keep(self)

        return type(kind.__name__, (kind,), {"ConnectionCls": Connection})

    manager.pool_classes_by_scheme = {
        "http": pool_of(urllib3.HTTPConnectionPool),
        "https": pool_of(urllib3.HTTPSConnectionPool),
    }
    return manager


def _manager(to: Destination) -> urllib3.PoolManager:
    given: dict[str, Any] = {
        "retries": False,
        "timeout": urllib3.Timeout(connect=to.timeout, read=to.timeout),
        "ca_certs": to.certificate,
        "cert_file": to.client_certificate,
        "key_file": to.client_key,
    }
    options = {name: value for name, value in given.items() if value is not None}
    parts = urlsplit(to.url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    try:
        seconds = urllib3.Retry().get_retry_after(response)
    except urllib3.exceptions.InvalidHeader:
        return None
    return None if seconds is None else min(seconds, LONGEST_WAIT)
