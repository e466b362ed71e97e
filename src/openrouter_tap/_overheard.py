"""The caller's own decoder of a coded body (gzip, deflate, br, zstd), overheard.

So the tap need not undo a coding a second time, which took more than all else it does to a gzipped reply, nor know it;
and zlib does not give the GIL away in the middle of our work (benchmarks/tools.py). Whoever reads the raw bytes has no
decoder at work: then what is gzip or zlib is undone in `_parse.coding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

__all__ = ["overhear"]

_CODINGS = frozenset({b"gzip", b"deflate", b"br", b"zstd"})
"""Those whose decoders the libraries make without a word: of others they may tell the caller when he begins to read."""


class _Overheard:
    """The decoder of *response*, which lets *hear* know what it gives: bytes, or pieces of them one by one.

    It is made when the first bytes come, as without us: to make it costs more than to listen.
    """

    def __init__(self, response: Any, hear: Callable[[bytes], None], give_up: Callable[[Exception], object]) -> None:
        self._response = ref(response)  # which holds this one
        self._decoder: Any = None
        self._hear = hear
        self._give_up = give_up

    def _make(self) -> Any:
        response: Any = self._response()
        del response._decoder  # noqa: SLF001
        self._decoder = response._get_content_decoder()  # noqa: SLF001  which keeps it there
        response._decoder = self  # noqa: SLF001
        return self._decoder

    def decode(self, data: bytes) -> Any:
        given = (self._decoder or self._make()).decode(data)
        if not isinstance(given, bytes):
            return self._pieces(given)
        try:
            self._hear(given)
        except Exception as fault:  # noqa: BLE001
            self._give_up(fault)
        return given

    def _pieces(self, given: Any) -> Iterator[bytes]:
        for piece in given:
            try:
                self._hear(piece)
            except Exception as fault:  # noqa: BLE001
                self._give_up(fault)
            yield piece

    def flush(self) -> Any:
        """What comes here comes behind the end of the body, where the call is over."""
        return (self._decoder or self._make()).flush()


def overhear(
    response: Any, coding: bytes, hear: Callable[[bytes], None], give_up: Callable[[Exception], object]
) -> None:
    """Have *hear* know what the decoder of *response* gives, and *give_up* what *hear* raises."""
    if coding in _CODINGS and hasattr(response, "_get_content_decoder") and not hasattr(response, "_decoder"):
        response._decoder = _Overheard(response, hear, give_up)  # noqa: SLF001
