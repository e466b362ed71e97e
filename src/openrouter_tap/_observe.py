"""How the watching of a call begins: at its request, at its reply, or at the failure that it gets instead.

`observe` is one function for speed (benchmarks/tap.py).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final
from weakref import ref

from openrouter_tap import _bridge, _http
from openrouter_tap._attempts import last
from openrouter_tap._bridge import add_header, clean_text, current, notice, shown
from openrouter_tap._coded_stream import CodedJsonStream, CodedSseStream
from openrouter_tap._compat import host_and_path, read_content, reply_headers, retries_of
from openrouter_tap._event import CallEvent
from openrouter_tap._http import DEBUG
from openrouter_tap._json_stream import JsonStream
from openrouter_tap._observation import (
    HTTP_ERROR,
    NO_TRACE,
    TEXT,
    TRACING,
    Begun,
    Emit,
    Observation,
    Streams,
    clock,
    trace_ids,
)
from openrouter_tap._overheard import weakly
from openrouter_tap._sse_stream import SseStream
from openrouter_tap._videos import is_poll

__all__ = ["STARTED", "Begun", "begin", "emitter", "not_observed", "observe", "observe_failure"]

_modules = sys.modules
_EVENT_STREAM = b"text/event-stream"
_JSON = b"application/json"
_SWITCHING_PROTOCOLS = 101
_DEEPEST = 16  # exceptions in a chain
STARTED: Final = 2
"""The place in `Begun`."""


def begin(request: Any) -> Begun | None:
    """Take down the beginning of a call to a tapped host; None where nothing is to be recorded of it."""
    debug = bool(_http.servers) and _http.servers[0].threshold <= DEBUG
    if request.method != "POST" and not debug and not is_poll(request.method, host_and_path(request.url)[1]):
        return None
    retries = retries_of(request.headers, add_header)
    context = current()
    if debug:
        _http.log("start", request, context)
    return context, trace_ids() if TRACING in _modules else NO_TRACE, clock(), debug, retries


def observe(  # noqa: C901  what is rare is a branch: a call for the usual would cost each reply
    request: Any, response: Any, begun: Begun, emit: Emit, open_streams: Streams
) -> None:
    """Put the observation between the reply's body and the caller."""
    headers_at = clock()
    body = response.stream
    if isinstance(body, Observation) and body.started >= begun[STARTED]:
        return  # an inner tap has seen this call
    headers = response.headers
    content_type, request_id, is_coded = reply_headers(headers)
    # The class first: an observation that is thrown away would report an abandoned call.
    is_stream = content_type != _JSON and content_type[:17].lower() == _EVENT_STREAM
    if is_coded:
        call: SseStream | JsonStream = _coded(response, is_stream, request, begun, emit)
    else:
        call = SseStream(request, begun, emit) if is_stream else JsonStream(request, begun, emit)
    try:
        call.headers, call.headers_at, call.status = headers, headers_at, response.status_code
        if request_id is not None:
            call.request_id = clean_text(request_id.decode("latin-1"))[:TEXT]
        if call.debug:
            call.log("headers", headers_at)
        call.body = body
        if call.status >= HTTP_ERROR and request.method == "POST":
            call.refuse()
        if response.is_closed:
            content = read_content(response)
            if content is None:
                call.leave("closed_early")
            else:
                call.at_once(content, encoded=is_coded)
        elif response.status_code == _SWITCHING_PROTOCOLS:
            call.finish("completed")
            return
        elif isinstance(call, SseStream):
            call.open_streams = open_streams
            open_streams[id(call)] = ref(call)
        response.stream = call
    except Exception:
        call.done = True
        raise


def _coded(response: Any, is_stream: bool, *given: Any) -> CodedSseStream | CodedJsonStream:
    itself = weakly(response)
    call = CodedSseStream(*given) if is_stream else CodedJsonStream(*given)
    call.response = itself
    return call


def observe_failure(request: Any, begun: Begun, error: BaseException, emit: Emit) -> None:
    """Record a call that got no reply."""
    before = last.get()
    if (
        before is not None
        and before.ended >= begun[STARTED]  # of this task, in the meantime: an inner tap has recorded an attempt
        and (before.request() is request or _has_passed_a_tap(error, begun))
    ):
        return
    call = Observation(request, begun, emit)
    try:
        call.fail(error)
    except Exception:
        call.done = True
        raise


def _has_passed_a_tap(error: BaseException, begun: Begun) -> bool:
    """Whether an inner tap has recorded the failure: then its frame, younger than *begun*, is in a traceback.

    Nothing is put on the exception for that, which is the caller's. A transport that retries may raise another one, and
    one that many calls wait for the same one to all: then the frames are of other tasks.
    Up to 3.12 a frame keeps the locals that are asked for, the exception among them: so not those of our own frame, the
    first in the traceback, or each failure is left, with its request, to the garbage collector.
    """
    here = error.__traceback__
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen or len(seen) > _DEEPEST:
            continue
        seen.add(id(one))
        for frame, _ in traceback.walk_tb(here.tb_next if here and one is error else one.__traceback__):
            inner = frame.f_locals.get("begun") if frame.f_globals.get("__package__") == __package__ else None
            if inner and inner is not begun and inner[STARTED] >= begun[STARTED]:
                return True
        chain += [one.__cause__, one.__context__]
    return False


def not_observed(fault: Exception) -> None:
    """A fault of ours: the call goes on without being watched."""
    with suppress(Exception):
        _bridge.lost()
        notice(f"observe: {type(fault)}", f"a call could not be observed: {fault!r}. The call is not affected.")


def emitter(on_event: Callable[[CallEvent], object] | None) -> Emit:
    """What takes the events of a tap: the log, and the function that the user gave."""
    if on_event is None:
        return _bridge.record
    kind = f"on_event {id(getattr(on_event, '__code__', on_event))}"  # one for all methods and closures of one function

    def emit(event: CallEvent, *ids: str | None) -> None:
        _bridge.record(event, *ids)
        try:
            result = on_event(event)
            if isinstance(result, Coroutine):
                result.close()  # else Python warns of it wherever it is collected
                notice(kind, f"{shown(on_event)} as TapOptions.on_event gives a coroutine, which nobody awaits.")
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt):  # the user's, for the program
                raise
            notice(kind, f"TapOptions.on_event {shown(on_event)} raised {shown(fault)}: the call is not affected.")

    return emit
