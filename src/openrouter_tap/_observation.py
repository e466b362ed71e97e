"""One HTTP exchange as it is seen: clock, status, bytes, outcome. It does no I/O and finishes exactly once.

The object is the reply's stream too (`_json_stream`, `_sse_stream`), made by `_observe`. It keeps what it needs of the
response and never the response itself: that cycle would leave each call to the garbage collector, 2 µs in the mean.
Bent for speed where it says so (benchmarks/tap.py).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import ref

from openrouter_tap import _http
from openrouter_tap._attempts import attempt_of
from openrouter_tap._attempts import last as _last
from openrouter_tap._bridge import Context, clean_text, clean_texts, lost, notice
from openrouter_tap._compat import host_and_path, one_header, request_body
from openrouter_tap._event import CallError, CallEvent, Endpoint, Outcome
from openrouter_tap._parse.failure import read_failure
from openrouter_tap._parse.request import NOTHING_ASKED, read_request
from openrouter_tap._parse.usage import NO_COST, NO_TOKENS, cost_of, tokens_of
from openrouter_tap._parse.wire import ABSENT, Reply
from openrouter_tap._videos import is_first_to_tell, is_poll

__all__ = [
    "HTTP_ERROR",
    "NO_REPLY",
    "NO_TRACE",
    "TEXT",
    "TRACING",
    "Begun",
    "Emit",
    "Observation",
    "Streams",
    "clock",
    "endpoint_of",
    "trace_ids",
]

Emit = Callable[[CallEvent, str | None, str | None, str | None], object]
"""Takes the event of a call, and the record's tool, session_id and request_id."""

Streams = dict[int, ref["Observation"]]
"""Streams by their `id`."""

clock = time.perf_counter_ns

_ENDPOINTS: dict[str, Endpoint] = {
    "chat/completions": "chat.completions",
    "completions": "completions",
    "responses": "responses",
    "messages": "messages",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "images": "images",
    "audio/transcriptions": "audio.transcriptions",
    "audio/speech": "audio.speech",
    "videos": "videos",
}
_BY_PATH = {f"/api/v1/{tail}": endpoint for tail, endpoint in _ENDPOINTS.items()}
_DIGITS = 9
TEXT = 256
"""Characters of a header that are recorded."""
_NO_TAGS: dict[str, str] = {}
_LONG_ID = 40
NO_TRACE: tuple[None, None] = (None, None)
NO_REPLY = Reply()
_OK = 200
_REDIRECT, HTTP_ERROR = 300, 400  # and what is between them: its body is a word to people
_WELL = ("completed", "closed_early")

last_attempt = _last.get


Begun = tuple[Context, tuple[str | None, str | None], int, bool, bytes | None]
"""What is taken down when a request is handed to the transport: context, trace, time, whether its `http` events are
logged, and its count of retries.

A plain tuple: one with names costs each call 0.3 µs.
"""

epoch = 0
"""Another number in a forked child."""


def _new_epoch() -> None:
    global epoch
    epoch += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_epoch)


class Observation:
    """Facts of one exchange, and the event that is made of them at its end.

    All attributes are the object's own: on 3.12 one that falls back on the class costs each reading of it 50 ns.
    """

    def __init__(self, request: Any, begun: Begun, emit: Emit) -> None:
        self.done = False
        self.request = request
        self.context, self.trace, self.started, self.debug, self.retries = begun
        self.emit = emit
        self.epoch = epoch
        """That of the process in which the call began."""
        self.headers: Any = None
        self.headers_at: int | None = None
        self.status: int | None = None
        self.streamed = False
        self.first_content: int | None = None
        self.request_id: str | None = None
        """The reply's own, or what stands in for it where there is no generation id."""
        self.size = 0
        self.wire_size_known = True
        self.refused: tuple[int, str | None] | None = None
        """Which attempt it is, where the status says that another may follow."""

    def finish(self, outcome: Outcome, error: str | None = None) -> None:
        """The exchange is over; only the first call counts. A fault in here is none of the call's."""
        if self.done:
            return
        self.done = True
        if self.epoch != epoch:
            return  # a fork's child unwinds what its parent began: the call is the parent's
        try:
            ended = clock()
            event = self._event(ended, outcome, error)
            if event is not None:
                tool, session_id, request_id = self.context.ids
                self.emit(event, tool, session_id, request_id or self.request_id or event.generation_id)
            if self.debug:
                self.log("end", ended)
        except Exception as fault:  # noqa: BLE001
            self.give_up(fault)
        self.request = self.headers = None

    def log(self, phase: str, at: int) -> None:
        """Log a step of the exchange at DEBUG."""
        _http.log(phase, self.request, self.context, self.status, (at - self.started) // 1000 / 1000)

    def refuse(self) -> None:
        """The status is an error. Whoever tries again may leave this reply to be collected late and in any thread."""
        self.refused = attempt_of(self.request, _count(self.retries), is_well=False)

    def fail(self, error: BaseException) -> None:
        """An exception goes through the exchange to the caller."""
        if isinstance(error, GeneratorExit):
            self.leave("closed_early")
        else:
            while isinstance(error, BaseExceptionGroup):  # trio's, of a cancellation while connecting
                error = error.exceptions[0]
            self.finish("failed" if isinstance(error, Exception) else "cancelled", type(error).__name__)

    def leave(self, outcome: Outcome) -> None:
        """The reply is given up before its end is seen."""
        self.finish(outcome)

    def give_up(self, fault: Exception) -> bool:
        """*fault* is ours: it ends the observation and never the call. Returns True."""
        self.done = True
        with suppress(Exception):
            lost()
            notice(f"tap: {type(fault)}", f"a call could not be recorded: {fault!r}. The call itself is not affected.")
        return True

    def __del__(self) -> None:
        try:
            if not self.done:
                self.leave("abandoned")
        except AttributeError:
            pass  # it has not begun
        except Exception as fault:  # noqa: BLE001
            self.give_up(fault)

    def facts(self) -> tuple[Reply, bool]:
        """What the reply says, and whether it is sound as far as it goes; what was kept for that is let go."""
        return NO_REPLY, True

    def _event(self, ended: int, outcome: Outcome, error: str | None) -> CallEvent | None:
        try:
            reply, sound = self.facts()
        except Exception as fault:  # noqa: BLE001
            reply, sound = self._unread(fault), True
        request, usage, started = self.request, reply.usage, self.started
        generation_id = reply.id or self._header(b"x-generation-id")
        host, path = host_and_path(request.url)
        endpoint = _BY_PATH.get(path)
        if (endpoint is None or request.method != "POST") and not (endpoint := self._found(path, reply, generation_id)):
            return None
        body = request_body(request)
        asked = read_request(body) if body else NOTHING_ASKED
        choices, failure, provider = reply.choices, None, reply.provider
        if choices is None:  # no chat
            generation_id, provider = reply.generation_id or generation_id, provider or self._header(b"x-provider-name")
        is_plain = choices and len(choices) == 1 and choices[0].error is ABSENT and reply.error is ABSENT
        if not is_plain or not sound or self.status != _OK or outcome != "completed":
            if outcome == "abandoned" and self.headers_at is not None and not self.size:
                ended = self.headers_at  # nothing was read of it: how long it then lay about says nothing of the call
            outcome, failure = self._judged(outcome, error, reply, sound)
            if failure is not None:
                failure = CallError(*clean_texts((failure.type, failure.code)))
        attempt, call_id = 1, None
        if generation_id is None and self.request_id is None:
            self.request_id = self._header(b"cf-ray")
        if self.retries is not None or outcome != "completed" or last_attempt() is not None:
            attempt, call_id = self.refused or attempt_of(request, _count(self.retries), is_well=outcome in _WELL)
        if generation_id is not None and (
            generation_id[:4] != "gen-" or not generation_id[4:14].isdigit() or len(generation_id) > _LONG_ID
        ):
            generation_id = clean_text(generation_id)  # it is not in OpenRouter's own form
        model, request_model, upstream, finish_reason, service_tier = clean_texts(
            (
                reply.model,
                asked.model,
                provider,
                choices[0].finish_reason if choices else reply.finish_reason,
                reply.service_tier,
            )
        )
        pinned = self.context.pinned
        trace_id, span_id = self.trace
        return CallEvent(  # by position, in the order of its fields: names would cost each call 0.9 µs
            "openrouter",
            pinned.get("tier_id") if pinned else None,
            model,
            request_model,
            upstream,
            generation_id,
            call_id,
            attempt,
            host,
            endpoint,
            self.streamed or asked.stream is True,
            self.status,
            outcome,
            failure,
            (ended - started) // 1000 / 1000,
            None if self.headers_at is None else (self.headers_at - started) // 1000 / 1000,
            None if self.first_content is None else (self.first_content - started) // 1000 / 1000,
            NO_TOKENS if usage is None else tokens_of(usage),
            NO_COST if usage is None else cost_of(usage),
            finish_reason,
            service_tier,
            self.size if self.wire_size_known else None,
            trace_id,
            span_id,
            pinned.get("tags", _NO_TAGS) if pinned else _NO_TAGS,
        )

    def _found(self, path: str, reply: Reply, generation_id: str | None) -> Endpoint | None:
        """The endpoint where the path alone does not tell; None for an administrative call."""
        if self.request.method != "POST":
            tells = is_poll(self.request.method, path) and is_first_to_tell(path, self.status, reply)
            return "videos" if tells else None
        endpoint = endpoint_of(path)
        return None if endpoint == "other" and reply.usage is None and generation_id is None else endpoint

    def _unread(self, fault: Exception) -> Reply:
        if endpoint_of(host_and_path(self.request.url)[1]) == "other":
            raise fault  # whether there is an event depends on what it says
        notice(f"facts: {type(fault)}", f"a reply could not be read: {fault!r}. What it says is null in its event.")
        return NO_REPLY

    def _header(self, name: bytes) -> str | None:
        value = None if self.headers is None else one_header(self.headers, name)
        return clean_text(value.decode("latin-1"))[:TEXT] if value else None

    def _coding(self) -> str:
        return self._header(b"content-encoding") or ""

    def _judged(
        self, outcome: Outcome, error: str | None, reply: Reply, sound: bool
    ) -> tuple[Outcome, CallError | None]:
        """The outcome and the error in the light of the status and of what the reply says."""
        status, failure = self.status, reply.failure
        if status is None or outcome == "cancelled":
            return outcome, CallError(error or outcome)
        if status >= HTTP_ERROR and outcome != "failed":
            return "http_error", read_failure(failure, status, reply.error_type)
        if status < HTTP_ERROR and failure is not None:
            return "stream_error", read_failure(failure, status, reply.error_type)
        if outcome == "failed" or (outcome == "completed" and not sound and status < _REDIRECT):
            host = self.request.url.host
            notice("broken reply", f"a reply of {host} is cut or not JSON: what it lacks is null in its event.")
            return "failed", CallError(error or str(status))
        if outcome == "closed_early" and reply.usage is not None and not self.streamed:
            return "completed", None  # closed behind its last byte and ahead of its end
        return outcome, None


def endpoint_of(path: str) -> Endpoint:
    """The endpoint of a path with OpenRouter's own prefix, or another."""
    if path in _BY_PATH:
        return _BY_PATH[path]
    parts = path.rstrip("/").split("/")
    return _ENDPOINTS.get("/".join(parts[-2:])) or _ENDPOINTS.get(parts[-1]) or "other"


def _count(digits: bytes | None) -> int | None:
    """How often the SDK says that it has sent the request before; None where it says nothing that is a number."""
    return int(digits) if digits and digits.isdigit() and len(digits) < _DIGITS else None


TRACING = "opentelemetry.trace"
"""The module that is imported where the program uses OpenTelemetry."""


def trace_ids() -> tuple[str | None, str | None]:
    """Ids of the current OpenTelemetry span, if `TRACING` is imported."""
    module: Any = sys.modules.get(TRACING)
    try:
        context = module.get_current_span().get_span_context()
        return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else NO_TRACE
    except Exception:  # noqa: BLE001  half imported, or another version's
        return NO_TRACE
