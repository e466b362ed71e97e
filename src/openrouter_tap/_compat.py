"""The only module that names httpx and httpx2: their base classes, and the few private names that save time."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = [
    "CLIENTS",
    "CLOSING",
    "LIBRARIES",
    "StreamBase",
    "TransportBase",
    "aiterate",
    "default_transport",
    "host_and_path",
    "is_client",
    "iterate",
    "library_of",
    "nothing",
    "one_header",
    "read_content",
    "reply_headers",
    "request_body",
    "retries_of",
]


def _installed() -> list[ModuleType]:
    found: list[ModuleType] = []
    for name in ("httpx", "httpx2"):
        try:
            library = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
        else:
            if library not in found:  # httpx2.alias_httpx() makes them one
                found.append(library)
    if not found:
        raise ModuleNotFoundError("openrouter_tap needs httpx or httpx2: pip install httpx", name="httpx")
    return found


LIBRARIES = _installed()
CLIENTS: list[type[Any]] = [client for library in LIBRARIES for client in (library.Client, library.AsyncClient)]

CLOSING = tuple(library.AsyncByteStream for library in LIBRARIES if library.__name__ == "httpx2")
"""Bodies of the library that closes what it iterates over; two who do that are an error at the end of a loop."""

_NEVER: Any = object()  # no chunk is equal to it
_TELLING = frozenset({b"content-type", b"content-encoding", b"request-id", b"x-request-id"})
_RETRY_COUNT = b"x-stainless-retry-count"
_ASKING = frozenset({b"authorization", b"proxy-authorization", b"x-api-key", _RETRY_COUNT})

if TYPE_CHECKING:
    import httpx
    import httpx2

    class TransportBase(httpx.BaseTransport, httpx.AsyncBaseTransport, httpx2.BaseTransport, httpx2.AsyncBaseTransport):
        """A transport of all four clients."""

        def handle_request(self, request: Any) -> Any: ...
        def handle_async_request(self, request: Any) -> Any: ...

    class StreamBase(httpx.SyncByteStream, httpx.AsyncByteStream, httpx2.SyncByteStream, httpx2.AsyncByteStream):
        """A body that all four clients take."""
else:

    def _bases(*names: str) -> tuple[type, ...]:
        return tuple(getattr(library, name) for library in LIBRARIES for name in names)

    TransportBase = type("TransportBase", _bases("BaseTransport", "AsyncBaseTransport"), {})
    StreamBase = type("StreamBase", _bases("SyncByteStream", "AsyncByteStream"), {})


def default_transport(request: Any, *, is_async: bool) -> Any:
    """The transport that a client of the request's library makes for itself."""
    library = library_of(request)
    return library.AsyncHTTPTransport() if is_async else library.HTTPTransport()


def library_of(request: Any) -> ModuleType:
    """The library whose `Request` *request* is."""
    for library in LIBRARIES:
        if isinstance(request, library.Request):
            return library
    raise TypeError(f"TappedTransport got a {type(request)!r}, which is a Request of neither httpx nor httpx2")


def is_client(given: Any) -> bool:
    """Whether *given* is one of the `CLIENTS`."""
    return isinstance(given, tuple(CLIENTS))


def reply_headers(headers: Any) -> tuple[bytes, bytes | None, bool]:
    """The content type in a reply's `Headers`, the id of the request, and whether the body is coded, in one pass."""
    content_type, is_coded, ids = b"", False, {}
    try:
        for _, name, value in headers._list:  # noqa: SLF001  a third of what .raw costs
            if name in _TELLING:
                if name == b"content-type":
                    content_type = content_type or value
                elif name == b"content-encoding":
                    is_coded = True
                else:
                    ids[name] = value
    except (AttributeError, TypeError, ValueError):
        content_type = one_header(headers, b"content-type") or b""
        ids = {name.lower(): value for name, value in headers.raw}
        is_coded = b"content-encoding" in ids
    return content_type, (ids.get(b"request-id") or ids.get(b"x-request-id")) if ids else None, is_coded


def one_header(headers: Any, wanted: bytes) -> bytes | None:
    """The value of the *wanted* (lower case) one of a `Headers`, the first if there are several."""
    try:
        for _, name, value in headers._list:  # noqa: SLF001
            if name == wanted:
                return value  # type: ignore[no-any-return]
    except (AttributeError, TypeError, ValueError):
        return next((value for name, value in headers.raw if name.lower() == wanted), None)
    return None


def retries_of(headers: Any, prove: Callable[[bytes], object]) -> bytes | None:
    """The count of its retries in a request's `Headers`; *prove* is called with what proves its right, in one pass."""
    retries = None
    try:
        for _, name, value in headers._list:  # noqa: SLF001
            if name in _ASKING:
                if name == _RETRY_COUNT:
                    retries = value
                else:
                    prove(value)
    except (AttributeError, TypeError, ValueError):
        given = {name.lower(): value for name, value in headers.raw}
        for name in _ASKING & given.keys() - {_RETRY_COUNT}:
            prove(given[name])
        retries = given.get(_RETRY_COUNT)
    return retries


def host_and_path(url: Any) -> tuple[str, str]:
    """Both as they stand in a `URL`."""
    try:
        parsed = url._uri_reference  # noqa: SLF001  without what .host and .path decode: IDNA and percent signs
        return parsed.host, parsed.path
    except AttributeError:
        return url.host, url.path


def read_content(response: Any) -> bytes | None:
    """The decoded body of a reply that is closed; None where it was closed unread."""
    try:
        return response.content  # type: ignore[no-any-return]
    except RuntimeError:  # ResponseNotRead is one
        return None


def request_body(request: Any) -> bytes | None:
    """The body if it is in memory; None for a stream, which only the inner transport may read."""
    try:
        body = request._content  # noqa: SLF001  what .content returns, at a third of its price
    except AttributeError:
        return None
    return body if isinstance(body, bytes) else None


def iterate(body: Any) -> Iterator[bytes]:
    """The iterator of *body*, to be used in more than one loop; one that cannot be is given what it lacks for that."""
    chunks = iter(body)
    return chunks if hasattr(chunks, "__iter__") else iter(chunks.__next__, _NEVER)


def aiterate(body: Any) -> AsyncIterator[bytes]:
    """The same of an asynchronous one."""
    chunks: AsyncIterator[bytes] = body.__aiter__()
    return chunks if hasattr(chunks, "__aiter__") else _stepped(chunks)


async def _stepped(chunks: Any) -> AsyncIterator[bytes]:
    while True:
        try:
            chunk = await chunks.__anext__()
        except StopAsyncIteration:
            return
        yield chunk


async def nothing() -> AsyncIterator[bytes]:
    """No chunk."""
    return
    yield b""
