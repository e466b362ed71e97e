"""The door of those who may only pass ``event_hooks=``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from openrouter_tap._observation import Observation
from openrouter_tap._observe import STARTED, Begun, begin, emitter, not_observed, observe
from openrouter_tap._open_streams import OpenStreams
from openrouter_tap._options import Hosts, TapOptions

__all__ = ["async_event_hooks", "event_hooks"]


class _Hooks:
    """What both kinds do. A request is known again at its reply by what it is, and not kept alive for that."""

    def __init__(self, options: TapOptions | None) -> None:
        options = options or TapOptions()
        self._hosts = Hosts(options.hosts)
        self._emit = emitter(options.on_event)
        self._begun: WeakKeyDictionary[Any, Begun] = WeakKeyDictionary()
        self._open = OpenStreams()

    def request(self, request: Any) -> None:
        try:
            if self._hosts.taps(request.url) and (begun := begin(request)) is not None:
                self._begun[request] = begun
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)

    def response(self, response: Any) -> None:
        try:
            begun = self._begun.pop(response.request, None)
            if begun is not None and not _is_observed(response.stream, begun):
                observe(response.request, response, begun, self._emit, self._open.by_id)
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)


def _is_observed(stream: Any, begun: Begun) -> bool:
    """Whether other hooks have put themselves around the client's own stream, or a tap has within it.

    A transport may give one response for many requests: what is within can be of an earlier one.
    """
    inner = getattr(stream, "_stream", None)
    return isinstance(stream, Observation) or (isinstance(inner, Observation) and inner.started >= begun[STARTED])


def event_hooks(*, options: TapOptions | None = None) -> dict[str, list[Callable[[Any], None]]]:
    """Hooks for a sync client: ``httpx.Client(event_hooks=event_hooks())``.

    They wrap the reply's stream and never read it. A call that gets no reply (no connection, a timeout) leaves no
    event: the libraries tell hooks nothing of it. A `TappedTransport` sees those, too.
    """
    hooks = _Hooks(options)
    return {"request": [hooks.request], "response": [hooks.response]}


def async_event_hooks(*, options: TapOptions | None = None) -> dict[str, list[Callable[[Any], Awaitable[None]]]]:
    """The same for an async client: ``httpx.AsyncClient(event_hooks=async_event_hooks())``."""
    hooks = _Hooks(options)

    async def request(request: Any) -> None:
        hooks.request(request)

    async def response(response: Any) -> None:
        hooks.response(response)

    return {"request": [request], "response": [response]}
