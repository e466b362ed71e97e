"""A server that speaks as much of Elasticsearch as a shipper needs: ``_bulk``, with ids, and outages on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BulkServer(ThreadingHTTPServer):
    """*lines* counts each document as it came, byte for byte; *stored* is what ``create`` by id keeps of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lines: Counter[bytes] = Counter()
        self.stored: dict[str, bytes] = {}
        self.indices: Counter[str] = Counter()
        self.broken: list[bytes] = []
        self.overloads = 0
        """To so many of the next documents the answer is 429."""
        self.is_away = False
        """Each connection is closed without an answer."""
        self.unanswered = 0
        self.changed = threading.Condition()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *args: object) -> None:
        """A shipper that is killed breaks its connections."""

    @property
    def port(self) -> int:
        return self.server_address[1]

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def take(self, body: bytes) -> list[dict[str, Any]]:
        """What becomes of each document of a request."""
        *parts, rest = body.split(b"\n")
        if rest or len(parts) % 2:
            self.broken.append(body)
        items = []
        with self.changed:
            for action, line in zip(parts[::2], parts[1::2], strict=False):
                meta = json.loads(action)["create"]
                if self.overloads:
                    self.overloads -= 1
                    items.append(_item(meta, 429, "es_rejected_execution_exception"))
                    continue
                is_new = meta["_id"] not in self.stored
                self.lines[line] += 1
                self.indices[meta["_index"]] += is_new
                self.stored.setdefault(meta["_id"], line)
                items.append(_item(meta, 201) if is_new else _item(meta, 409, "version_conflict_engine_exception"))
            self.changed.notify_all()
        return items


def _item(meta: dict[str, Any], status: int, error: str | None = None) -> dict[str, Any]:
    told = {"error": {"type": error, "reason": error}} if error else {"result": "created", "_version": 1}
    return {"create": {"_index": meta["_index"], "_type": "_doc", "_id": meta["_id"], "status": status, **told}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BulkServer

    def do_GET(self) -> None:
        self._answer({"version": {"number": "8.0.0"}})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        items = [] if self.server.is_away else self.server.take(body)
        is_refused = any(item["create"]["status"] >= 400 for item in items)
        self._answer({"took": 1, "errors": is_refused, "items": items})

    def _answer(self, value: object) -> None:
        if self.server.is_away:
            self.server.unanswered += 1
            self.close_connection = True
            return
        data = b"" if self.command == "HEAD" else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass
