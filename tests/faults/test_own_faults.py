"""A fault of the tap's own, in any of its functions, and what the caller notices of it: nothing."""

from __future__ import annotations

import gc
import gzip
import importlib
import inspect
import itertools
import logging
import pkgutil
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest
from callers import Answer, Caller, Replay, seen
from conftest import Logs
from replies import COMMENT, chunk, dumps, message, stream

import cipherlog_core
from openrouter_tap import CallEvent, TapOptions, TappedTransport, _bridge, _parse, _videos, log_cost
from openrouter_tap._observation import Observation

PATHS = ["_transport", "_observe", "_observation", "_watched", "_json_stream", "_sse_stream", "_overheard", "_compat"]
PATHS += [
    "_coded_stream",
    "_open_streams",
    "_options",
    "_http",
    "_attempts",
    "_bridge",
    "_videos",
    *(f"_parse.{found.name}" for found in pkgutil.iter_modules(_parse.__path__)),
]
MODULES = [importlib.import_module(f"openrouter_tap.{path}") for path in PATHS]

# What is the transport, the stream or the client's closing itself: the calls of the libraries go through these.
INTERFACE = {"handle_request", "handle_async_request", "_handle_async", "_make", "default_transport", "close", "aclose"}
INTERFACE |= {"iterate", "aiterate", "nothing", "_stepped", "library_of"}
LAST_RESORT = {"give_up", "not_observed"}
"""What is called when something else has raised, and guards itself."""

UNREACHED = {
    *("_compat._installed", "_compat._bases"),  # at import
    *("_compat.is_client", "_options.Hosts.taps", "_transport.TappedTransport.taps"),  # of the other doors
    *("_transport.TappedTransport.around", "_options.notice_proxies"),
    "_observe._has_passed_a_tap",  # of two taps
    "_observation._new_epoch",  # in a forked child
    "_open_streams._leave_all",  # at the end of the program
    "_watched.WatchedStream.elapsed",  # for the hooks
    *("_observation.lost", "_observation.Observation._unread"),  # when something else has raised
}
TYPES = ("typing", "types", "collections.abc")  # of what are names for types
FAULTS = (RuntimeError, MemoryError, RecursionError)


def _is_ours(module: ModuleType, name: str, value: Any) -> bool:
    """Whether *module* defines *value*, or gives a name of its own to what others define."""
    if inspect.isfunction(value):
        return value.__code__.co_filename == module.__file__
    names_it = callable(value) and not isinstance(value, type) and type(value).__module__ not in TYPES
    return names_it and not name.startswith("__") and getattr(value, "__name__", None) != name


def functions() -> Iterator[tuple[str, Any, str]]:
    """Each function, method and property of the modules: its name, where it stands, and under which name there."""
    known = set()
    for module in MODULES:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value.__module__ == module.__name__:
                for part, made in list(vars(value).items()):
                    function = made.fget if isinstance(made, property) else made
                    is_named = part[:2] != "__" or (part == "__init__" and issubclass(value, Observation))
                    if is_named and _is_ours(module, part, function) and inspect.isfunction(function):
                        yield f"{module.__name__}.{name}.{part}", value, part
            elif _is_ours(module, name, value) and id(value) not in known:
                known.add(id(value))
                yield f"{module.__name__}.{name}", module, name


FUNCTIONS = {
    full.removeprefix("openrouter_tap."): (owner, name)
    for full, owner, name in functions()
    if name not in INTERFACE | LAST_RESORT
}

BIG = dumps(message("x" * (1 << 20)))
BIG_AND_ODD = dumps(message("x" * (1 << 20), usage={"cost": "0.5"}))
GZIPPED = gzip.compress(BIG, mtime=0)
SSE = [("content-type", "text/event-stream")]
CODED = [("content-encoding", "gzip")]
RESPONSES = [
    b'data: {"type":"response.output_text.delta","delta":"word"}\n\n',
    b'data: {"type":"response.completed","response":{"id":"resp-1","model":"m","usage":{"cost":0.1}}}\n\n',
]
MESSAGES = [
    b'data: {"type":"message_start","message":{"id":"gen-1","model":"m","usage":{"input_tokens":3}}}\n\n',
    b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"word"}}\n\n',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2,"cost":0.1}}\n\n',
    b'data: {"type":"message_stop"}\n\n',
]
DETAILS = {"upstream_inference_cost": 0.5}
LONG = [COMMENT, *(chunk({"content": "word " * 800}) for _ in range(50)), *stream(1)[-3:]]
API = "https://openrouter.ai/api/v1"


def _raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


# What the transport gives, in which way it is taken, and what is asked.
SCENARIOS: dict[str, tuple[Callable[[ModuleType], Answer], str, dict[str, Any]]] = {
    "JSON": (lambda _: Answer([dumps(message())]), "read", {}),
    "JSON in pieces": (lambda _: Answer([dumps(message())[:90], dumps(message())[90:]]), "raw", {}),
    "big JSON": (lambda _: Answer([BIG[:700], BIG[700:]]), "read", {}),
    "big and odd JSON": (lambda _: Answer([BIG_AND_ODD]), "read", {}),
    "gzip": (lambda _: Answer([GZIPPED], CODED), "bytes", {}),
    "gzip in pieces": (lambda _: Answer([GZIPPED[:700], GZIPPED[700:1400], GZIPPED[1400:]], CODED), "read", {}),
    "no stream in gzip": (lambda _: Answer([gzip.compress(b"<html>", mtime=0)], [*SSE, *CODED]), "read", {}),
    "no JSON in gzip": (lambda _: Answer([gzip.compress(b"<html>", mtime=0)], CODED), "read", {}),
    "gzip, taken raw": (lambda _: Answer([GZIPPED], CODED), "raw", {}),
    "deflate": (
        lambda _: Answer([_raw_deflate(dumps(message()))], [("content-encoding", "deflate")]),
        "read",
        {},
    ),
    "odd types": (lambda _: Answer([dumps(message(usage={"cost": "0.5", "total_tokens": "x"}))]), "read", {}),
    "BYOK": (
        lambda _: Answer([dumps(message(usage={"cost": 1, "is_byok": True, "cost_details": DETAILS}))]),
        "read",
        {},
    ),
    "a body that is read": (lambda _: Answer([dumps(message())], is_read=True), "read", {}),
    "a stream that is read": (lambda _: Answer(stream(), SSE, is_read=True), "read", {}),
    "stream": (lambda _: Answer(stream(), SSE), "raw", {}),
    "long stream": (lambda _: Answer(LONG, SSE), "raw", {}),
    "stream with CR": (lambda _: Answer([part.replace(b"\n", b"\r") for part in stream()], SSE), "lines", {}),
    "stream called JSON": (lambda _: Answer(stream()), "raw", {}),
    "deflated stream": (lambda _: Answer([gzip.compress(b"".join(stream()), mtime=0)], SSE), "raw", {}),
    "stream in gzip": (lambda _: Answer([gzip.compress(b"".join(stream()), mtime=0)], [*SSE, *CODED]), "lines", {}),
    "JSON called a stream": (lambda _: Answer([dumps(message())], SSE), "read", {}),
    "responses": (lambda _: Answer(RESPONSES, SSE), "raw", {"url": f"{API}/responses"}),
    "messages": (lambda _: Answer(MESSAGES, SSE), "raw", {"url": f"{API}/messages"}),
    "sound": (lambda _: Answer([b"ID3\4"], [("content-type", "audio/mpeg")]), "raw", {"url": f"{API}/audio/speech"}),
    "video": (
        lambda _: Answer([dumps({"id": "job-1", "status": "completed", "usage": {"cost": 0.4}})]),
        "read",
        {"method": "GET", "url": f"{API}/videos/job-1"},
    ),
    "error in a stream": (lambda _: Answer([*stream()[:3], b'data: {"error":{"code":502}}\n\n'], SSE), "raw", {}),
    "429": (lambda _: Answer([dumps({"error": {"code": 429, "message": "slow"}})], status=429), "read", {}),
    "no reply": (lambda library: Answer(fails=library.ConnectTimeout("no")), "read", {}),
    "cut": (lambda library: Answer(stream()[:4], SSE, error=library.ReadError("cut")), "raw", {}),
    "JSON cut": (lambda library: Answer([b'{"id":'], error=library.ReadError("cut")), "raw", {}),
    "not JSON": (lambda _: Answer([b"<html>"]), "read", {}),
    "left": (lambda _: Answer(stream(), SSE), "left", {}),
    "not read": (lambda _: Answer(stream(), SSE), "unread", {}),
    "left open": (lambda _: Answer(stream(), SSE), "left open", {}),
    "dropped": (lambda _: Answer(stream(), SSE), "dropped", {}),
    "JSON dropped": (lambda _: Answer([dumps(message())]), "dropped", {}),
    "101": (lambda _: Answer(status=101), "unread", {}),
    "retried": (lambda _: Answer([dumps(message())]), "read", {"headers": {"x-stainless-retry-count": "0"}}),
    "big request": (lambda _: Answer([dumps(message())]), "read", {"json": {"messages": ["x" * 9000], "model": "m"}}),
    "other host": (lambda _: Answer([dumps(message())]), "read", {"url": "http://gateway.local:8443/v1/new"}),
}
REQUEST = {"json": {"model": "maker/model", "stream": True}}
OPTIONS = {"hosts": ("gateway.local:8443", "[::1]:90")}


@pytest.fixture(autouse=True)
def everything_on(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """http events at DEBUG, spans, and proxies that would be named."""
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    for name in ("httpx", "httpx2"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    monkeypatch.setattr("openrouter_tap._http.servers", [cipherlog_core.start("app")])
    gc.collect()
    gc.freeze()  # what pytest holds would make each collection slow
    yield
    gc.unfreeze()
    log_cost(model="m")  # opens the log, which then tells of what was dropped: here, and in no other test


def replaced(patch: pytest.MonkeyPatch, owner: Any, name: str, by: Callable[[Any], Any]) -> None:
    """Put ``by(original)`` where the function stands, and where it was imported to."""
    original = inspect.getattr_static(owner, name)
    if isinstance(owner, type):
        made = by(original.fget if isinstance(original, property) else original)
        patch.setattr(owner, name, property(made) if isinstance(original, property) else made)
        return
    for module in [module for key, module in sys.modules.items() if key.startswith("openrouter_tap")]:
        for known in [known for known, value in vars(module).items() if value is original]:
            patch.setattr(module, known, by(original))


async def views(
    library: ModuleType, events: list[CallEvent] | None, names: Iterable[str], *, is_async: bool
) -> AsyncIterator[tuple[str, Any]]:
    """What the caller sees of each scenario; through the tap, if its *events* have a place to go to."""
    for name in names:
        answer, how, request = SCENARIOS[name]
        _videos._told.clear()
        transport = inner = Replay(library, answer(library))
        if events is not None:
            transport = TappedTransport(inner, options=TapOptions(on_event=events.append, **OPTIONS))
        yield name, await seen(Caller(library, transport, is_async=is_async), inner, how, **{**REQUEST, **request})


async def reaching(library: ModuleType, *, is_async: bool) -> dict[str, list[str]]:
    """The scenarios that call each function."""
    found: dict[str, list[str]] = {path: [] for path in FUNCTIONS}
    called: set[str] = set()

    def noting(path: str) -> Callable[[Any], Any]:
        def around(original: Any) -> Any:
            def noted(*args: Any, **options: Any) -> Any:
                called.add(path)
                return original(*args, **options)

            return noted

        return around

    with pytest.MonkeyPatch.context() as patch:
        for path, (owner, name) in FUNCTIONS.items():
            replaced(patch, owner, name, noting(path))
        async for scenario, _ in views(library, [], SCENARIOS, is_async=is_async):
            for path in called:
                found[path].append(scenario)
            called.clear()
    return found


def raising(fault: type[Exception]) -> Callable[[Any], Any]:
    def broken(*_: object, **__: object) -> None:
        raise fault("inside")

    return lambda _: broken


def dropped() -> int:
    return cipherlog_core.stats().dropped


FEW, ALL = 2, len(SCENARIOS)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("most", [FEW, pytest.param(ALL, marks=pytest.mark.soak)], ids=["few", "all"])
async def test_no_fault_reaches_the_caller(
    most: int,
    library: ModuleType,
    is_async: bool,
    events: list[CallEvent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each function raises, one at a time: the caller sees the untapped result, and no call is lost without a count."""
    expected = {name: view async for name, view in views(library, None, SCENARIOS, is_async=is_async)}
    reached = await reaching(library, is_async=is_async)
    trouble = []
    for number, (path, fault) in enumerate(itertools.product(FUNCTIONS, FAULTS)):
        monkeypatch.setattr("openrouter_tap._bridge.notice._seen", set())
        caplog.clear()
        with monkeypatch.context() as patch:
            replaced(patch, *FUNCTIONS[path], raising(fault))
            before = dropped()
            async for name, view in views(library, events, some(reached[path], number, most), is_async=is_async):
                is_told = len(events) == 1 or (not events and dropped() > before)
                if view != expected[name] or not is_told:
                    trouble.append((path, fault, name, view.get("error"), [event.outcome for event in events]))
                events.clear()
                before = dropped()
        notices = [record.getMessage() for record in caplog.records if record.name == "openrouter_tap"]
        if len(notices) != len(set(notices)):
            trouble.append((path, fault, notices))

    assert trouble == []
    assert {path for path, names in reached.items() if not names} == UNREACHED


def some(names: list[str], number: int, most: int) -> list[str]:
    """At most so many of the *names*, others for each *number*."""
    start = number * most % max(1, len(names))
    return (names[start:] + names[:start])[:most]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("most", [FEW, pytest.param(ALL, marks=pytest.mark.soak)], ids=["few", "all"])
async def test_no_fault_reaches_the_caller_even_where_it_cannot_be_told(
    most: int, library: ModuleType, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each function raises, and so does what counts the loss and tells of it."""
    expected = {name: view async for name, view in views(library, None, SCENARIOS, is_async=is_async)}
    reached = await reaching(library, is_async=is_async)
    trouble = []
    for number, (path, function) in enumerate(FUNCTIONS.items()):
        with monkeypatch.context() as patch:
            for broken in {function, (_bridge, "notice"), (_bridge, "lost")}:
                replaced(patch, *broken, raising(MemoryError))
            async for name, view in views(library, [], some(reached[path], number, most), is_async=is_async):
                if view != expected[name]:
                    trouble.append((path, name, view.get("error")))

    assert trouble == []


def test_no_fault_reaches_who_makes_a_client(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that cannot be understood for a fault of ours cost the events and nothing else."""
    for owner, name in FUNCTIONS.values():
        with monkeypatch.context() as patch:
            replaced(patch, owner, name, raising(RuntimeError))
            TappedTransport(options=TapOptions(**OPTIONS)).close()
            inner = library.MockTransport(lambda _: library.Response(200, text="reply"))
            with library.Client(transport=TappedTransport(inner, options=TapOptions(**OPTIONS))) as client:
                assert client.get("https://elsewhere.example").text == "reply"
