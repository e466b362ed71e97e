"""What both type checkers accept, strict."""

from __future__ import annotations

from typing import assert_type

import httpx
import httpx2

from openrouter_tap import (
    CallEvent,
    TapOptions,
    TappedTransport,
    async_event_hooks,
    event_hooks,
    instrument,
    tap_client,
    uninstrument,
)


class OwnClient(httpx.AsyncClient):
    """As SDKs have one."""


def on_event(event: CallEvent) -> None:
    assert_type(event.cost.total, float | None)


OPTIONS = TapOptions(hosts=("gateway.local",), on_event=on_event)

httpx.Client(transport=TappedTransport())
httpx.AsyncClient(transport=TappedTransport(options=OPTIONS))
httpx2.Client(transport=TappedTransport(httpx2.HTTPTransport(http2=True)))
httpx2.AsyncClient(transport=TappedTransport(httpx2.AsyncHTTPTransport()))
httpx.Client(mounts={"all://": TappedTransport(), "all://intern": None})
httpx2.AsyncClient(mounts={"all://": TappedTransport(), "all://intern": None})

assert_type(tap_client(httpx.Client()), httpx.Client)
assert_type(tap_client(httpx.AsyncClient(), options=OPTIONS), httpx.AsyncClient)
assert_type(tap_client(httpx2.Client()), httpx2.Client)
assert_type(tap_client(httpx2.AsyncClient()), httpx2.AsyncClient)
assert_type(tap_client(OwnClient()), OwnClient)

httpx.Client(event_hooks=event_hooks())
httpx2.Client(event_hooks=event_hooks(options=OPTIONS))
httpx.AsyncClient(event_hooks=async_event_hooks())
httpx2.AsyncClient(event_hooks=async_event_hooks(options=OPTIONS))

instrument()
instrument(options=OPTIONS)
uninstrument()
