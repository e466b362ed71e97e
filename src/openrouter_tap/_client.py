"""Doors to clients that exist already: one client by `tap_client`, all clients of the process by `instrument`.

Both know two private names of the libraries, ``_transport`` and ``_mounts``, or one, ``_transport_for_url``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from openrouter_tap._compat import CLIENTS, is_client
from openrouter_tap._observe import not_observed
from openrouter_tap._options import TapOptions
from openrouter_tap._transport import TappedTransport

__all__ = ["instrument", "tap_client", "uninstrument"]

C = TypeVar("C")


def tap_client(client: C, *, options: TapOptions | None = None) -> C:
    """Tap the transports of *client*, an `httpx` or `httpx2` client, sync or async; returns the client.

    What the client was made with stays in force: ``proxy=`` and ``mounts=``, proxies of the environment, ``verify``,
    ``http2``, ``limits``. A client that is tapped already stays as it is.

    Raises `TypeError` where *client* is no client of these libraries: an SDK keeps its own inside, and most SDKs take
    one (``AsyncOpenAI(http_client=tap_client(DefaultAsyncHttpxClient()))``).
    """
    given: Any = client
    if not is_client(given):
        raise TypeError(
            f"tap_client: {type(client).__qualname__} is no httpx or httpx2 client; give it the one that is inside, or "
            "give the tapped client to whatever takes one"
        )
    try:
        transport, mounts = given._transport, given._mounts  # noqa: SLF001
    except AttributeError as error:
        raise TypeError(f"tap_client: this version of {type(client).__module__} is not known: {error}") from error
    given._transport = _tapped(transport, options)  # noqa: SLF001
    given._mounts = {  # noqa: SLF001
        pattern: None if mount is None else _tapped(mount, options) for pattern, mount in mounts.items()
    }
    return client


def _tapped(transport: Any, options: TapOptions | None) -> Any:
    return transport if isinstance(transport, TappedTransport) else TappedTransport(transport, options=options)


_originals: dict[type, Any] = {}
"""The `_transport_for_url` of each class of clients, while they are instrumented."""


def instrument(*, options: TapOptions | None = None) -> None:
    """Tap every client of both libraries, those that exist and those to come, until `uninstrument`.

    Only requests to tapped hosts meet the tap. A client that is tapped already is not tapped again.
    """
    tap = TappedTransport(_NOTHING, options=options)
    uninstrument()
    for client in CLIENTS:
        _originals[client] = original = client._transport_for_url  # noqa: SLF001
        client._transport_for_url = _watching(original, tap)  # noqa: SLF001


def uninstrument() -> None:
    """Undo `instrument`."""
    while _originals:
        client, original = _originals.popitem()
        client._transport_for_url = original  # type: ignore[attr-defined]  # noqa: SLF001


def _watching(original: Any, tap: TappedTransport) -> Any:
    def _transport_for_url(self: Any, url: Any) -> Any:
        transport = original(self, url)
        try:
            if tap.taps(url) and not isinstance(transport, TappedTransport):
                return tap.around(transport)
        except Exception as fault:  # noqa: BLE001
            not_observed(fault)
        return transport

    return _transport_for_url


class _Nothing:
    """Stands where the client's own transport will be."""

    def handle_request(self, request: Any) -> Any:
        raise NotImplementedError


_NOTHING = _Nothing()
