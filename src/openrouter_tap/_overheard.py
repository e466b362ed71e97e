"""The caller's own decoder of a coded body, overheard.

So the tap need not undo a coding a second time, which took more than all else it does to a gzipped reply, nor know it;
and zlib does not give the GIL away in the middle of our work (benchmarks/tools.py). Nothing is put on a response before
it is read: both libraries make its decoder, and keep it there, ahead of the first chunk. Whoever takes the raw bytes
has no decoder at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import ref

__all__ = ["overhear", "weakly"]

_IDENTITY = "IdentityDecoder"
"""The decoder of a coding that the library does not know: it gives what it gets."""


def weakly(response: Any) -> Callable[[], Any] | None:
    """A weak reference to *response*; None where there can be none."""
    try:
        return ref(response)
    except TypeError:
        return None


def overhear(
    response: Callable[[], Any] | None, hear: Callable[[bytes], None], give_up: Callable[[Exception], object]
) -> bool:
    """Have *hear* know what the decoder of the *response* gives, and *give_up* what *hear* raises.

    False where no decoder is at work.
    """
    decoder = getattr(response(), "_decoder", None) if response is not None else None
    if decoder is None or type(decoder).__name__ == _IDENTITY:
        return False
    decode = type(decoder).decode

    def decode_and_tell(data: bytes) -> Any:
        given = decode(that(), data)
        if isinstance(given, bytes | bytearray | memoryview):
            try:
                hear(bytes(given))
            except Exception as fault:  # noqa: BLE001
                give_up(fault)
            return given
        return _telling(given, hear, give_up)

    try:
        if "decode" in vars(decoder):  # somebody else's, or that of a call before
            return False
        that = ref(decoder)  # which holds the function
        decoder.decode = decode_and_tell
    except (AttributeError, TypeError):  # it has slots
        return False
    return True


def _telling(
    given: Iterable[bytes], hear: Callable[[bytes], None], give_up: Callable[[Exception], object]
) -> Iterator[bytes]:
    """The pieces that httpx2's decoders give one by one."""
    for piece in given:
        try:
            hear(piece)
        except Exception as fault:  # noqa: BLE001
            give_up(fault)
        yield piece
