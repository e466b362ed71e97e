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


class _Patch:
    """A class of clients while it is instrumented."""

    def __init__(self, client: Any, tap: TappedTransport) -> None:
        self.tap: TappedTransport | None = tap
        self._client = client
        self._original = client._transport_for_url  # noqa: SLF001
        self._watching = client._transport_for_url = _watching(self._original, self)  # noqa: SLF001

    def undo(self) -> bool:
        """Watch no more. Returns False where another patch has been put on top, which then stays."""
        self.tap = None
        if self._client._transport_for_url is not self._watching:  # noqa: SLF001
            return False
        self._client._transport_for_url = self._original  # noqa: SLF001
        return True


_patches: list[_Patch] = []
"""The newest last."""


def instrument(*, options: TapOptions | None = None) -> None:
    """Tap every client of both libraries, those that exist and those to come, until `uninstrument`.

    Only requests to tapped hosts meet the tap. A client that is tapped already is not tapped again.
    """
    tap = TappedTransport(_NOTHING, options=options)
    uninstrument()
    _patches.extend(_Patch(client, tap) for client in CLIENTS)


def uninstrument() -> None:
    """Undo `instrument`. What others have patched since then stays; the next call undoes what is below that."""
    _patches[:] = [patch for patch in _patches[::-1] if not patch.undo()][::-1]


def _watching(original: Any, patch: _Patch) -> Any:
    def _transport_for_url(self: Any, url: Any) -> Any:
        transport = original(self, url)
        tap = patch.tap
        try:
            if tap is not None and tap.taps(url) and not isinstance(transport, TappedTransport):
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
