"""The import table: who may know whom. A new module must be given its place here."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import cipherlog_core
import openrouter_tap

SOURCE = Path(__file__).parents[1] / "src"

# Each module of a package, and the modules of our own that it may import. "+": and whatever stands above it.
CORE = {
    "_secrets": "",
    "_redact": "_secrets",
    "_notice": "_redact",
    "_settings": "_notice",
    "_stats": "",
    "_exc": "",
    "_encode": "_exc _redact",
    "_context": "_encode _notice",
    "_fork": "",
    "_record": "_encode _fork",
    "_text": "_encode _redact",
    "_folders": "_filesystem",
    "_lines": "_context _encode _folders _record _redact _text",
    "_sample": "",
    "_filesystem": "",
    "_ring": "_filesystem",
    "_ledger": "_filesystem",
    "_rotation": "",
    "_last_lock": "",
    "_logfile": "_filesystem _folders _last_lock _ledger _ring _rotation",
    "_recover": "_filesystem _folders _logfile _ring",
    "_spool": "_last_lock _logfile _ring",
    "_writer": "_settings _spool",
    "_checkpoint": "_filesystem _folders",
    "_archive": "_checkpoint _filesystem _folders _rotation _settings",
    "_console": "_settings",
    "_pipeline": "_archive _console _folders _last_lock _lines _logfile _record _recover _ring _rotation _settings "
    "_spool _stats _writer ship._background",
    "_channel": "_context _encode _folders _fork _pipeline _record _redact _settings",
    "_routing": "_channel _encode _settings",
    "_logger": "_context _encode _exc _folders _fork _lines _pipeline _record _redact _sample _settings _spool",
    "_servers": "_encode _logger _pipeline _record _settings",
    "_stdlib": "_logger _servers",
    "_inspect": "_filesystem _folders _recover _ring",
    "ship": "",
    "ship._tail": "_checkpoint _filesystem _rotation",
    "ship._options": "",
    "ship._otlp": "",
    "ship._answer": "",
    "ship._send_http": "_redact ship._answer ship._options",
    "ship._send_grpc": "_redact ship._answer ship._options",
    "ship._send": "ship._answer ship._options ship._send_grpc ship._send_http",
    "ship._shipper": "_checkpoint _filesystem _folders _rotation "
    "ship._answer ship._options ship._otlp ship._send ship._tail",
    "ship._background": "_folders _settings ship._options ship._shipper",
    "reading": "_filesystem _folders _inspect _recover _rotation _settings",
    "schemas": "_routing",
    "testing": "_folders _logger _pipeline _record _servers _settings _spool _stdlib",
    "__init__": "_channel _context _logger _pipeline _routing _servers _settings _stats _stdlib",
}
TAP = {
    "_event": "",
    "_bridge": "_event",
    "_tag": "_bridge",
    "_fake": "_compat simulator._catalogue simulator._chat simulator._dialect simulator._messages simulator._others "
    "simulator._replies simulator._responses",
    "testing": "_event _fake",
    "_log_cost": "_bridge _event _tag",
    "_compat": "",
    "_options": "_bridge _compat _event",
    "_http": "_bridge _compat",
    "_attempts": "",
    "_parse.wire": "",
    "_parse.coding": "",
    "_parse.loose": "_parse.wire",
    "_parse.failure": "_event",
    "_parse.usage": "_event _parse.wire",
    "_parse.request": "_parse.wire",
    "_parse.reply": "_parse.coding _parse.loose _parse.wire",
    "_parse.sse": "_event _parse.coding _parse.loose _parse.wire",
    "_videos": "_parse.wire",
    "_observation": "_attempts _bridge _compat _event _http _parse.failure _parse.request _parse.usage _parse.wire "
    "_videos",
    "_watched": "_compat _observation",
    "_open_streams": "_observation",
    "_json_stream": "_compat _observation _parse.coding _parse.reply _parse.sse _parse.wire _watched",
    "_sse_stream": "_compat _event _observation _parse.reply _parse.sse _parse.wire _watched",
    "_overheard": "",
    "_coded_stream": "_json_stream _overheard _parse.coding _parse.sse _parse.wire _sse_stream _watched",
    "_observe": "_attempts _bridge _coded_stream _compat _event _http _json_stream _observation _overheard _sse_stream "
    "_videos",
    "_transport": "_compat _observe _open_streams _options",
    "_client": "_compat _observe _options _transport",
    "_genai": "",
    "_signals": "_genai",
    "_hooks": "_observation _observe _open_streams _options",
    "__init__": "_client _event _hooks _log_cost _options _tag _transport",
    "__main__": "cli",
    "schemas": "_event",
    "schemas.__main__": "schemas",
}
CROSSING = "openrouter_tap._bridge"
SHIPPING = {"openrouter_tap._signals", "openrouter_tap.cli._ship"}  # what goes to `cipherlog_core.ship`, and starts it
PUBLIC_TO_ALL = {"cipherlog_core", "cipherlog_core.reading", "cipherlog_core.schemas", "cipherlog_core.testing"}
HTTP_LIBRARIES = {"httpx", "httpx2"}
MAY_NAME_HTTP = {"openrouter_tap._compat", "openrouter_tap.cli._demo"}
EXTRAS = {"click", "rich", "duckdb", "starlette", "uvicorn", "google", "grpc", "opentelemetry", "urllib3"}
EXTRAS_ROOMS = ("openrouter_tap.cli", "openrouter_tap.report", "openrouter_tap.simulator")
SHIPPING_ROOMS = ("cipherlog_core.ship", "openrouter_tap._signals")


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }


def imports(path: Path) -> set[str]:
    """The modules that *path* imports, wherever in the file; of a name that is itself a module, that module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            deeper = {f"{node.module}.{name.name}" for name in node.names}
            found |= deeper & modules().keys() or {node.module}
    return found


@pytest.mark.parametrize(("package", "table"), [("cipherlog_core", CORE), ("openrouter_tap", TAP)])
def test_each_module_imports_only_what_the_table_allows(package: str, table: dict[str, str]) -> None:
    """Within a package, imports follow the table, and each module stands in it."""
    rooms = {name: path for name, path in modules().items() if name.partition(".")[0] == package}
    rooms = {
        name: path for name, path in rooms.items() if not name.startswith(EXTRAS_ROOMS) and name != f"{package}._parse"
    }
    seen = {}
    for name, path in rooms.items():
        short = name.removeprefix(package).lstrip(".") or "__init__"
        own = {target.removeprefix(f"{package}.") for target in imports(path) if target.startswith(f"{package}.")}
        seen[short] = own

    assert {name: sorted(own) for name, own in seen.items()} == {
        name: sorted(allowed.split()) for name, allowed in table.items()
    }


def test_the_logger_knows_nothing_of_the_tap() -> None:
    """cipherlog_core imports nothing from openrouter_tap, and no HTTP library."""
    targets = {
        target for name, path in modules().items() if name.startswith("cipherlog_core") for target in imports(path)
    }

    assert not {target for target in targets if target.partition(".")[0] in {"openrouter_tap", *HTTP_LIBRARIES}}


def test_one_module_crosses_from_the_tap_to_the_logger() -> None:
    """Only the bridge knows what the logger does not export; the shipper is a package of its own."""
    crossing = {
        name
        for name, path in modules().items()
        if name.startswith("openrouter_tap")
        for target in imports(path)
        if target.startswith("cipherlog_core") and target not in PUBLIC_TO_ALL
    }

    assert crossing - SHIPPING == {CROSSING}


def test_one_module_names_the_http_libraries() -> None:
    """Beside the demo, which is a user's program, only _compat imports httpx or httpx2."""
    naming = {name for name, path in modules().items() if imports(path) & HTTP_LIBRARIES}

    assert naming == MAY_NAME_HTTP


def test_only_their_own_rooms_need_the_extras() -> None:
    """The tap and the logger work without any extra."""
    needing = {name for name, path in modules().items() if {t.partition(".")[0] for t in imports(path)} & EXTRAS}

    assert all(name.startswith((*EXTRAS_ROOMS, *SHIPPING_ROOMS)) for name in needing)


@pytest.mark.parametrize("package", [cipherlog_core, openrouter_tap])
def test_all_names_are_exported_and_described(package: object) -> None:
    """``__all__`` is sorted, complete, and each name in it has a docstring of its own."""
    public = {name for name, value in vars(package).items() if not name.startswith("_") and not inspect.ismodule(value)}
    public -= {"annotations", "PIPELINE", "bridge", "open_server", "unbridge"}

    assert set(package.__all__) == public
    assert all(inspect.getdoc(getattr(package, name)) or name == "Outcome" for name in package.__all__)


def test_modules_stay_small() -> None:
    """No module over 400 lines."""
    assert {name: lines for name, path in modules().items() if (lines := path.read_text().count("\n")) > 400} == {}
