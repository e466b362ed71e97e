"""The transport that watches: pass it to a client, and its calls to OpenRouter are recorded."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from openrouter_tap._compat import TransportBase, default_transport
from openrouter_tap._observe import Begun, begin, emitter, not_observed, observe, observe_failure
from openrouter_tap._open_streams import OpenStreams
from openrouter_tap._options import Hosts, TapOptions, notice_proxies

__all__ = ["TappedTransport"]


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
        self._made: dict[bool, Any] = {}
        self._open = OpenStreams()
        self._hosts: frozenset[str] = frozenset()  # none where a fault of ours keeps them from being known
        self._is_listed: Callable[[Any], bool] = lambda _: False
        try:
            hosts = Hosts(options.hosts)
            self._emit = emitter(options.on_event)
            self._hosts, self._is_listed = hosts.any_port, hosts.is_listed
            if inner is None:
                notice_proxies()
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)

    def handle_request(self, request: Any) -> Any:
        """Send *request* through the inner transport."""
        inner = self._sync
        if inner is None:
            inner = self._make(request, is_async=False)
        begun = None
        try:
            if request.url.host in self._hosts or self._is_listed(request.url):
                begun = begin(request)
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        if begun is None:
            return inner.handle_request(request)
        try:
            response = inner.handle_request(request)
        except BaseException as error:
            try:
                observe_failure(request, begun, error, self._emit)
            except Exception as fault:  # noqa: BLE001
                not_observed(fault)
            raise
        try:
            observe(request, response, begun, self._emit, self._open.by_id)
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        return response

    def handle_async_request(self, request: Any) -> Any:
        """Send *request* through the inner transport; a plain function, so that other hosts cost no coroutine."""
        inner = self._async
        if inner is None:
            inner = self._make(request, is_async=True)
        try:
            if request.url.host in self._hosts or self._is_listed(request.url):
                begun = begin(request)
                if begun is not None:
                    return self._handle_async(inner, request, begun)
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        return inner.handle_async_request(request)

    async def _handle_async(self, inner: Any, request: Any, begun: Begun) -> Any:
        try:
            response = await inner.handle_async_request(request)
        except BaseException as error:
            try:
                observe_failure(request, begun, error, self._emit)
            except Exception as fault:  # noqa: BLE001
                not_observed(fault)
            raise
        try:
            observe(request, response, begun, self._emit, self._open.by_id)
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        return response

    def taps(self, url: Any) -> bool:
        """Whether calls to *url* are recorded."""
        return url.host in self._hosts or self._is_listed(url)

    def around(self, inner: Any) -> TappedTransport:
        """Another one, with the same options, around *inner*."""
        tap = TappedTransport.__new__(TappedTransport)
        tap.__dict__.update(self.__dict__, _given=inner, _sync=inner, _async=inner)
        return tap

    def _make(self, request: Any, *, is_async: bool) -> Any:
        """The default transport. Of two made at once one is used; a lock could stay locked in a forked child."""
        made = self._made.setdefault(is_async, default_transport(request, is_async=is_async))
        if is_async:
            self._async = made
        else:
            self._sync = made
        return made

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
        try:
            self._open.leave()
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        if self._sync is not None:
            self._sync.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the inner transport of a sync client."""
        try:
            self._open.leave()
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
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
        try:
            self._open.leave()
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        if self._async is not None:
            await self._async.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the inner transport of an async client."""
        try:
            self._open.leave()
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        if self._async is not None:
            await self._async.aclose()
