"""An OpenRouter without a network, which answers what a test has told it to, and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import ModuleType
from typing import Any

from openrouter_tap._compat import LIBRARIES, StreamBase, library_of
from openrouter_tap.simulator._catalogue import Model
from openrouter_tap.simulator._chat import CHAT
from openrouter_tap.simulator._dialect import Dialect
from openrouter_tap.simulator._messages import MESSAGES
from openrouter_tap.simulator._others import OTHERS
from openrouter_tap.simulator._replies import Answer, generation_id, prompt_of, usage_of
from openrouter_tap.simulator._responses import RESPONSES

__all__ = ["FakeOpenRouter", "UnexpectedRequestError", "dollars"]

_DIALECTS: dict[str, Dialect] = {"chat/completions": CHAT, "responses": RESPONSES, "messages": MESSAGES, **OTHERS}
_BASE = "/v1/"
_OK, _BAD_GATEWAY = 200, 502
_STATUSES = (_OK, *range(400, 600))
_MAY_BE_NONE = "model", "retry_after"
_ERRORS = {
    name
    for name, kind in vars(LIBRARIES[0]).items()
    if isinstance(kind, type) and issubclass(kind, LIBRARIES[0].TransportError)
}

Reply = Callable[[Any, str, ModuleType], Any]
"""Makes a response of a request, the path behind ``/v1/``, and its library."""


class UnexpectedRequestError(AssertionError):
    """A request for which no reply is left."""


@dataclass(frozen=True, slots=True)
class _Planned:
    path: str | None
    told: str
    make: Reply


class FakeOpenRouter:
    """Answers requests of all threads with the replies that it was given, in their order, each once.

    It is a handler for `MockTransport` of `httpx` and `httpx2`, sync and async, with a tap around it if that is wanted:
    ``httpx.Client(transport=TappedTransport(httpx.MockTransport(openrouter)))``. A reply takes the shape of the
    endpoint that is asked, and is a stream where the request asks for one. With *path* (``"embeddings"``) a reply waits
    for a request to that endpoint, which takes it before those without a path.

    It is strict: a request without a reply raises `UnexpectedRequestError`, and `check` tells of it again, because SDKs
    retry what a transport raises and hide it behind an error of their own; replies that are left over fail `check` too.
    The fixture ``openrouter`` checks at the end of the test. What cannot be sent raises `TypeError` or `ValueError`
    when it is given.
    """

    def __init__(self) -> None:
        self.requests: list[Any] = []
        """What was asked, as the library's `Request`s."""
        self.is_strict = True
        """Whether `check` fails."""
        self._planned: list[_Planned] = []
        self._unexpected: list[str] = []
        self._lock = threading.Lock()  # or two threads choose one reply

    def reply(
        self,
        text: str = "Hello.",
        *,
        cost: Decimal | float | str | None = "0.0001",
        model: str | None = None,
        provider: str = "Fake",
        path: str | None = None,
    ) -> None:
        """Answer with *text* for *cost* US dollars; None leaves the cost out. *model* defaults to the one asked for."""
        _check_texts("reply", text=text, provider=provider, model=model)
        fails, price = ("no-cost", None) if cost is None else (None, dollars("reply: cost", cost))

        def make(request: Any, endpoint: str, library: ModuleType) -> Any:
            dialect, given = _answer(request, endpoint, text, model, provider, fails=fails, fixed_cost=price)
            chunks, headers = _chunks(dialect, given)
            return _response(library, dialect.status, chunks, headers)

        self._plan(path, f"a reply of {text!r}", make)

    def error(
        self,
        status: int = 429,
        error_type: str = "rate_limit_exceeded",
        *,
        message: str = "Provider returned error",
        retry_after: str | None = None,
        path: str | None = None,
    ) -> None:
        """Answer with an error of *status*; one of 200 comes inside a reply: in the body, or in mid-stream."""
        if not isinstance(status, int):
            raise TypeError(f"error({status!r}): the status is a number: error(429, 'rate_limit_exceeded')")
        if status not in _STATUSES:
            raise ValueError(f"error({status!r}): no status of an error, 400 to 599, or 200 for one inside a reply")
        _check_texts("error", error_type=error_type, message=message, retry_after=retry_after)
        headers = {"retry-after": retry_after} if retry_after is not None else {}

        def make(request: Any, endpoint: str, library: ModuleType) -> Any:
            dialect, given = _answer(request, endpoint, "Hello there.")
            body = dialect.error(_BAD_GATEWAY if status == _OK else status, message, error_type=error_type)
            if status != _OK:
                return library.Response(status, json=body, headers=headers)
            if dialect.events is None or not given.asked.get("stream"):
                return library.Response(status, json=dialect.failed(given, body), headers=_ids(dialect, given))
            chunks, about = _chunks(dialect, given)
            return _response(library, status, [*chunks[:-3], dialect.broken(given, body)], about)

        self._plan(path, f"an error {status}", make)

    def abort(
        self, error: str = "ConnectError", *, after: int | None = None, text: str = "Hello.", path: str | None = None
    ) -> None:
        """Raise the library's exception of that name instead of a reply, or in a reply of *text* behind *after* chunks.

        A stream has an event in each chunk, another reply is two chunks.
        """
        if error not in _ERRORS:
            raise ValueError(f"abort({error!r}): no transport error of httpx, as ConnectError or ReadTimeout are")
        if after is not None and not (isinstance(after, int) and after >= 0):
            raise ValueError(f"abort: after={after!r} is no number of chunks: 0 and more, or None for no reply at all")
        _check_texts("abort", text=text)

        def make(request: Any, endpoint: str, library: ModuleType) -> Any:
            failure = getattr(library, error)("the fake OpenRouter was told to", request=request)
            if after is None:
                raise failure
            dialect, given = _answer(request, endpoint, text)
            chunks, headers = _chunks(dialect, given)
            return _response(library, dialect.status, chunks[:after], headers, failure)

        self._plan(path, f"an abort by {error}", make)

    def respond(
        self,
        status: int = 200,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        """Answer with whatever is given here, a request of any method and to any path."""
        if not isinstance(status, int):
            raise TypeError(f"respond({status!r}): the status is a number: respond(200, json=...)")

        def make(_request: Any, _endpoint: str, library: ModuleType) -> Any:
            body = {"json": json} if content is None else {"content": content}
            return library.Response(status, headers=headers, **body)

        self._planned.append(_Planned(path, f"a response of status {status}", make))

    def check(self) -> None:
        """Raise `AssertionError` if there was a request without a reply, or is a reply without a request."""
        planned, self._planned = self._planned, []
        unexpected, self._unexpected = self._unexpected, []
        if unexpected and self.is_strict:
            raise UnexpectedRequestError("\n".join(unexpected))
        if planned and self.is_strict:
            left = "; ".join(f"{one.told}{f' for {one.path}' if one.path else ''}" for one in planned)
            raise AssertionError(f"{len(planned)} replies of the fake OpenRouter were never asked for: {left}")

    def __call__(self, request: Any) -> Any:
        """The response to *request*; called by `MockTransport`."""
        self.requests.append(request)
        endpoint = request.url.path.rpartition(_BASE)[2]
        with self._lock:
            fitting = [one for one in self._planned if one.path in (None, endpoint)]
            planned = min(fitting, key=lambda one: one.path is None, default=None)  # the first that names it, or any
            if planned is not None:
                self._planned.remove(planned)
        if planned is None:
            left = ", ".join(one.told + f" for {one.path}" for one in self._planned) or "none"
            message = (
                f"{request.method} {request.url.copy_with(query=None)} reached the fake OpenRouter, which has no reply "
                f"for it (left: {left}). Give it one before the call: openrouter.reply(...), .error(...), .abort(...)."
            )
            self._unexpected.append(message)
            raise UnexpectedRequestError(message)
        return planned.make(request, endpoint, library_of(request))

    def _plan(self, path: str | None, told: str, make: Reply) -> None:
        if path is not None and path not in _DIALECTS:
            raise ValueError(f"path={path!r} is none of {', '.join(_DIALECTS)}; for others there is respond()")
        self._planned.append(_Planned(path, told, make))


class _Body(StreamBase):
    """Chunks, and then perhaps an error."""

    def __init__(self, chunks: list[bytes], failure: Exception | None) -> None:
        self._chunks = chunks
        self._failure = failure

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def dollars(place: str, amount: Any) -> Decimal:
    """*amount* as US dollars. Raises `TypeError` or `ValueError`, which begin with *place*, where it is none."""
    told = f"{place}={amount!r} is no amount of US dollars"
    if not isinstance(amount, Decimal | float | int | str):
        raise TypeError(f"{told}: give '0.0012', a Decimal or a number")
    with suppress(InvalidOperation):
        value = Decimal(str(amount))
        if value.is_finite() and value >= 0:
            return value
    raise ValueError(f"{told}, as '0.0012' is")


def _check_texts(method: str, **texts: Any) -> None:
    for name, text in texts.items():
        if not isinstance(text, str) and (text is not None or name not in _MAY_BE_NONE):
            raise TypeError(f"{method}: {name}={text!r} is no text; give a str")


def _response(
    library: ModuleType, status: int, chunks: list[bytes], headers: dict[str, str], failure: Exception | None = None
) -> Any:
    return library.Response(status, headers=headers, stream=_Body(chunks, failure))


def _answer(
    request: Any, endpoint: str, text: str, model: str | None = None, provider: str = "Fake", **more: Any
) -> tuple[Dialect, Answer]:
    dialect = _DIALECTS.get(endpoint)
    if dialect is None:
        raise UnexpectedRequestError(f"{endpoint!r} is no endpoint of inference: give it a respond(..., path=...)")
    asked = _asked(request)
    served = Model(model or str(asked.get("model") or "fake/model"), provider, Decimal(0), Decimal(0), **more)
    words = text.split(" ")
    usage = usage_of(served, max(1, len(prompt_of(asked)) // 4), len(words))
    return dialect, Answer(generation_id(text.encode(), dialect.kind), served, words, [], [], "stop", usage, asked)


def _asked(request: Any) -> dict[str, Any]:
    try:
        asked = json.loads(request.content)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def _chunks(dialect: Dialect, given: Answer) -> tuple[list[bytes], dict[str, str]]:
    """The body of a reply and its headers."""
    ids = _ids(dialect, given)
    if given.asked.get("stream") and dialect.events is not None:
        return dialect.events(given), {"content-type": "text/event-stream", **ids}
    body = dialect.body(given)
    kind, data = ("audio/mpeg", body) if isinstance(body, bytes) else ("application/json", json.dumps(body).encode())
    half = len(data) // 2
    return [data[:half], data[half:]], {"content-type": kind, **ids}


def _ids(dialect: Dialect, given: Answer) -> dict[str, str]:
    ids = {"x-generation-id": given.id} if dialect.has_id_header else {}
    return {**ids, "x-provider-name": given.model.provider} if dialect.has_provider_header else ids
