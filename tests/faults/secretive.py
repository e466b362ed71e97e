"""A program that has secrets in all that it logs.

Run as ``python secretive.py ON|OFF < CASES``: lines of JSON, each a place and a text for it. OFF takes the net away.
Prints nothing of its own.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any
from urllib.parse import quote

import cipherlog_core
from cipherlog_core import _secrets
from openrouter_tap import TapOptions, TappedTransport, log_cost, tag
from openrouter_tap._compat import LIBRARIES

log = logging.getLogger("app")


class Echo(BaseHTTPRequestHandler):
    """Says again what it was told: a text of the header in a header, the model in an error."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = asked["messages"][0]["content"]
        error = {"message": f"no such key: {said}", "code": said, "metadata": {"error_type": said, "raw": said}}
        body = json.dumps({"error": error} if said else {"id": "gen-1", "model": asked["model"], "usage": {}}).encode()
        self.send_response(401 if said else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", self.headers.get("x-note", "none"))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


class Calls:
    """Real calls over a tap, by the one library and the other in turn."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/chat/completions"
        self._clients = [self._client(library, f"127.0.0.1:{port}") for library in LIBRARIES]
        self._made = 0

    def _client(self, library: ModuleType, host: str) -> Any:
        return library.Client(transport=TappedTransport(options=TapOptions(hosts=[host])))

    def __call__(self, model: str = "m", said: str = "", query: str = "", **headers: str) -> Any:
        self._made += 1
        client = self._clients[self._made % len(self._clients)]
        body = {"model": model, "messages": [{"role": "user", "content": said}]}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(self._url + query, json=body, headers=named)


def fail(text: str) -> None:
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(f"bad value {text}") from error
    except ValueError:
        log.exception("it failed")


def refused(call: Calls, text: str) -> None:
    response = call(said=text)
    try:
        response.raise_for_status()
    except Exception as error:
        error.add_note(response.text)
        log.exception("the call failed: %s", response.text)
        cipherlog_core.start("app").event("failed", error=error, body=response.json())


def bound(text: str) -> None:
    with cipherlog_core.bind(user=text, session_id=text):
        log.info("bound")
        cipherlog_core.start("app").event("bound")
        cipherlog_core.routing_event(selected_tool=text, tool=text)


def tagged(call: Calls, text: str) -> None:
    with tag(session_id=text, note=text):
        call()
    log_cost(model=text, tool=text, note=text)


def in_thread(text: str) -> None:
    def work() -> None:
        log.warning("from a thread")
        log_cost(model="m")

    thread = threading.Thread(target=work, name=text)
    thread.start()
    thread.join()


def places(call: Calls) -> dict[str, Callable[[str], object]]:
    app = cipherlog_core.start("app")
    return {
        "known": lambda text: call(Authorization=f"Bearer {text}"),
        "known api key": lambda text: call(x_api_key=text),
        "header": lambda text: call(x_note=text if text.isprintable() and text.isascii() else quote(text, safe="")),
        "URL": lambda text: call(query=f"?note={text if text.isprintable() and '#' not in text else quote(text)}"),
        "body": lambda text: call(model=text),
        "error body": lambda text: refused(call, text),
        "exception chain": fail,
        "message": lambda text: log.warning("it was %s", text),
        "extra": lambda text: log.info("see", extra={"note": text, "deep": {"list": [text, {"a": text}]}}),
        "field": lambda text: app.event("see", note=text, deep={"list": [text, {"a": text}]}),
        "object": lambda text: app.event("see", note={text, 1}, more=[text.encode()]),
        "name": lambda text: app.event(text[:900], fields={text: 1}),
        "logger": lambda text: logging.getLogger(text.replace(".", "·")).warning("named"),
        "thread": in_thread,
        "bound context": bound,
        "tag": lambda text: tagged(call, text),
    }


def main(net: str) -> None:
    if net == "OFF":
        _secrets.without = lambda value, _: value
        _secrets.without_in = lambda text, _: text
    cases = [json.loads(line) for line in sys.stdin]
    cipherlog_core.start("app")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = places(Calls(server.server_port))
    for place, text in cases:
        known[place](text)
    assert cipherlog_core.stats().dropped == 0
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
