"""The transport that watches: pass it to a client, and its calls to OpenRouter are recorded."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from openrouter_tap import _bridge, _observation
from openrouter_tap._bridge import Context, current, notice
from openrouter_tap._compat import TransportBase, default_transport, one_header
from openrouter_tap._event import CallEvent
from openrouter_tap._observation import NO_TRACE, TRACING, Emit, Observation, clock, trace_ids
from openrouter_tap._options import Hosts, TapOptions
from openrouter_tap._streams import JsonStream, SseStream

__all__ = ["TappedTransport"]

_modules = sys.modules
_EVENT_STREAM = b"text/event-stream"
_SWITCHING_PROTOCOLS = 101


class TappedTransport(TransportBase):
    """A transport for `httpx` and `httpx2` clients, sync and async, that records the calls to OpenRouter.

    *inner* does the work. By default it is what the client would have made for itself, made at the first request; the
    client closes the tap and the tap closes *inner*, so use one tap per client. Options that a client hands to its own
    transport (``verify``, ``http2``, ``limits``) belong on *inner*. Requests to other hosts pass untouched.

    Raises `TypeError` if *inner* is no transport. A call raises what it would have raised without the tap.
    """

    def __init__(self, inner: Any = None, *, options: TapOptions | None = None) -> None:
        if inner is not None and not (hasattr(inner, "handle_request") or hasattr(inner, "handle_async_request")):
            raise TypeError(f"TappedTransport: {inner!r} is no transport; wrap httpx.HTTPTransport() or its like")
        options = options or TapOptions()
        self._given = inner
        self._sync = self._async = inner
        self._making = threading.Lock()
        hosts = Hosts(options.hosts)
        self._hosts, self._is_listed = hosts.any_port, hosts.is_listed
        self._emit = _emitter(options.on_event)

    def handle_request(self, request: Any) -> Any:
        """Send *request* through the inner transport."""
        inner = self._sync or self._make(request, is_async=False)
        if request.method != "POST" or (request.url.host not in self._hosts and not self._is_listed(request.url)):
            return inner.handle_request(request)
        context, trace, started = current(), trace_ids() if TRACING in _modules else NO_TRACE, clock()
        try:
            response = inner.handle_request(request)
        except BaseException as error:
            self._observe_failure(request, context, trace, started, error)
            raise
        self._observe(request, response, context, trace, started)
        return response

    def handle_async_request(self, request: Any) -> Any:
        """Send *request* through the inner transport; a plain function, so that other hosts cost no coroutine."""
        inner = self._async or self._make(request, is_async=True)
        if request.method != "POST" or (request.url.host not in self._hosts and not self._is_listed(request.url)):
            return inner.handle_async_request(request)
        return self._handle_async(inner, request)

    async def _handle_async(self, inner: Any, request: Any) -> Any:
        context, trace, started = current(), trace_ids() if TRACING in _modules else NO_TRACE, clock()
        try:
            response = await inner.handle_async_request(request)
        except BaseException as error:
            self._observe_failure(request, context, trace, started, error)
            raise
        self._observe(request, response, context, trace, started)
        return response

    def _observe(
        self, request: Any, response: Any, context: Context, trace: tuple[str | None, str | None], started: int
    ) -> None:
        """Put the observation between the reply's body and the caller."""
        call: JsonStream | SseStream | None = None
        try:
            headers_at = clock()
            content_type = (one_header(response.headers, b"content-type") or b"").lower()
            # The class first: an observation that is thrown away would report an abandoned call.
            call = SseStream() if content_type.startswith(_EVENT_STREAM) else JsonStream()
            call.request, call.context, call.started, call.emit = request, context, started, self._emit
            call.epoch = _observation.epoch
            call.headers, call.headers_at, call.status = response.headers, headers_at, response.status_code
            if trace is not NO_TRACE:
                call.trace = trace
            if response.is_closed:
                call.at_once(response.content, encoded="content-encoding" in response.headers)
            elif response.status_code == _SWITCHING_PROTOCOLS:
                call.finish("completed")
            else:
                call.body, response.stream = response.stream, call
        except Exception as fault:  # noqa: BLE001
            if call is not None:
                call.done = True
            _bridge.lost()
            notice(f"observe: {type(fault)}", f"a call could not be observed: {fault!r}. The call is not affected.")

    def _observe_failure(
        self,
        request: Any,
        context: Context,
        trace: tuple[str | None, str | None],
        started: int,
        error: BaseException,
    ) -> None:
        """Record a call that got no reply."""
        call = Observation()
        call.request, call.context, call.started, call.emit, call.trace = request, context, started, self._emit, trace
        call.epoch = _observation.epoch
        call.fail(error)

    def _make(self, request: Any, *, is_async: bool) -> Any:
        with self._making:
            if is_async:
                self._async = self._async or default_transport(request, is_async=True)
                return self._async
            self._sync = self._sync or default_transport(request, is_async=False)
            return self._sync

    def __enter__(self) -> Self:
        if self._given is not None:
            self._given.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._sync is not None:
            self._sync.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the inner transport of a sync client."""
        if self._sync is not None:
            self._sync.close()

    async def __aenter__(self) -> Self:
        if self._given is not None:
            await self._given.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._async is not None:
            await self._async.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the inner transport of an async client."""
        if self._async is not None:
            await self._async.aclose()


def _emitter(on_event: Callable[[CallEvent], object] | None) -> Emit:
    if on_event is None:
        return _bridge.record

    def emit(event: CallEvent, *ids: str | None) -> None:
        _bridge.record(event, *ids)
        try:
            on_event(event)
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt):  # the user's, for the program
                raise
            notice("on_event", f"TapOptions.on_event raised {fault!r}: the call is not affected.")

    return emit
