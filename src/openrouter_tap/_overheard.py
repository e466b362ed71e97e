"""The caller's own decoder of a coded body, overheard.

So the tap need not undo a coding a second time, which took more than all else it does to a gzipped reply, nor know it;
and zlib does not give the GIL away in the middle of our work (benchmarks/tools.py). Nothing is put on a response before
it is read: both libraries make its decoder, and keep it there, ahead of the first chunk. Whoever takes the raw bytes
has no decoder at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from weakref import ref

__all__ = ["Listener", "overhear", "weakly"]

_IDENTITY = "IdentityDecoder"
"""The decoder of a coding that the library does not know: it gives what it gets."""


def weakly(response: Any) -> Callable[[], Any] | None:
    """A weak reference to *response*; None where there can be none."""
    try:
        return ref(response)
    except TypeError:
        return None


class Listener(NamedTuple):
    """Who overhears."""

    hear: Callable[[bytes], None]
    """Takes what the decoder gives."""
    fail: Callable[[BaseException], None]
    """Takes what it raises."""
    give_up: Callable[[Exception], object]
    """Takes what one of these two raised."""


def overhear(response: Callable[[], Any] | None, listener: Listener) -> bool:
    """Have the *listener* know what the decoder of the *response* gives, or raises; False where none is at work."""
    decoder = getattr(response(), "_decoder", None) if response is not None else None
    if decoder is None or type(decoder).__name__ == _IDENTITY:
        return False
    try:
        if "decode" in vars(decoder):  # somebody else's, or that of a call before
            return False
        decoder.decode = _telling(type(decoder).decode, ref(decoder), listener)
    except (AttributeError, TypeError):  # it has slots
        return False
    return True


def _telling(decode: Callable[..., Any], that: Callable[[], Any], listener: Listener) -> Callable[[bytes], Any]:
    """*decode* of *that* decoder, which holds what is made here, with the *listener* told of it.

    A decoder may call its `decode` itself, as both libraries' do where deflate comes without its frame: what it gives
    then the outer call gives, too, and that alone is told.
    """
    is_inside = False

    def step(function: Callable[..., Any], *given: Any) -> Any:
        nonlocal is_inside
        is_inside = True
        try:
            return function(*given)
        except BaseException as error:
            tell(listener.fail, error)
            raise
        finally:
            is_inside = False

    def tell(take: Callable[[Any], object], what: Any) -> None:
        try:
            take(what)
        except Exception as fault:  # noqa: BLE001
            listener.give_up(fault)

    def pieces(given: Iterator[bytes]) -> Iterator[bytes]:  # as httpx2's decoders give them
        while (piece := step(next, given, None)) is not None:
            tell(listener.hear, piece)
            yield piece

    def decode_and_tell(data: bytes) -> Any:
        if is_inside:
            return decode(that(), data)
        given = step(decode, that(), data)
        if isinstance(given, bytes | bytearray | memoryview):
            tell(listener.hear, bytes(given))
            return given
        return pieces(iter(given))

    return decode_and_tell
