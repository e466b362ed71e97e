"""The libraries' own test suites, from their source distributions, with every client tapped and all hosts on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[2]
NEEDS = (
    *("brotli", "chardet", "click", "cryptography", "h2", "pygments"),
    *("pytest", "rich", "socksio", "trio", "trustme", "uvicorn", "zstandard"),
)
PLUGIN = """
import json, os

outcomes, seen = {}, {"requests": 0, "replies": 0, "steps": 0}

if os.environ["SUITE_TAPPED"]:
    import openrouter_tap
    from types import SimpleNamespace

    from openrouter_tap import _http, _transport

    def counted(name, function):
        def count(*arguments):
            seen[name] += 1
            return function(*arguments)
        return count

    _transport.begin = counted("requests", _transport.begin)
    _transport.observe = counted("replies", _transport.observe)
    if os.environ["SUITE_TAPPED"] == "debug":  # then all methods are watched, and not POST alone
        _http.servers = [SimpleNamespace(threshold=0)]
        _http.log = counted("steps", lambda *step: None)  # a server's log would change what the suite sees of logging
    openrouter_tap.instrument(options=openrouter_tap.TapOptions(hosts=("*",)))

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcomes[report.nodeid] = "xfailed" if hasattr(report, "wasxfail") else f"{report.when} {report.outcome}"

def pytest_sessionfinish():
    with open(os.environ["SUITE_REPORT"], "w") as file:
        json.dump({"outcomes": outcomes, **seen}, file)
"""
PRIVATE = {
    f"tests/client/test_proxies.py::{name}": reason
    for name, reason in {
        "test_socks_proxy": "asks _transport_for_url for an HTTPTransport, and for its _pool",
        "test_transport_for_request": "asks _transport_for_url for the client's own, or for the _pool of a proxy's",
        "test_proxies_environ": "asks _transport_for_url for the client's own, or for the _pool of a proxy's",
        "test_proxy_with_mounts": "asks _transport_for_url for the very object that was mounted",
    }.items()
}
"""Tests of httpx whose outcome differs, and why."""


def pip(python: Path, *arguments: object) -> str:
    """What pip complains of; nothing if all is well."""
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False)
    return done.stderr if done.returncode else ""


def suite_of(library: ModuleType, folder: Path) -> tuple[Path, Path]:
    """The unpacked source distribution of the version that is installed, and a Python that has what it needs."""
    name = f"{library.__name__}=={version(library.__name__)}"
    download = ("download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder)
    if told := pip(Path(sys.executable), *download, name):
        pytest.skip(f"no source distribution of {name}: {told[-300:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    if not list(source.glob("tests/**/test_*.py")):
        pytest.skip(f"the source distribution of {name} has no tests")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    assert not pip(python, "install", "-q", "-c", ROOT / "constraints.txt", name, *NEEDS, ROOT)
    (folder / "suite_plugin.py").write_text(PLUGIN)
    return source, python


def run(source: Path, python: Path, tapped: str) -> dict[str, Any]:
    """The outcomes by test, and how much the tap has seen."""
    report = source.parent / f"{tapped or 'plain'}.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(source.parent),
        "SUITE_TAPPED": tapped,
        "SUITE_REPORT": str(report),
        "LOG_DIR": str(source.parent / "logs"),
    }
    command = [python, "-m", "pytest", "-q", "-p", "suite_plugin", "-m", "not network"]
    subprocess.run(command, cwd=source, env=environment, capture_output=True, timeout=900, check=False)
    return json.loads(report.read_text())


def test_the_same_outcomes(library: ModuleType, tmp_path: Path) -> None:
    """Test by test, at INFO and at DEBUG, but for those that look at private things."""
    source, python = suite_of(library, tmp_path)
    plain = run(source, python, "")
    for tapped in ("info", "debug"):
        found = run(source, python, tapped)
        differing = {
            name: (outcome, found["outcomes"].get(name))
            for name, outcome in plain["outcomes"].items()
            if found["outcomes"].get(name) != outcome
        }
        passed = list(plain["outcomes"].values()).count("call passed")
        seen = {name: found[name] for name in ("requests", "replies", "steps")}
        print(f"{tapped}: {len(plain['outcomes'])} tests, {passed} pass untapped, {len(differing)} differ; {seen}")

        assert passed > 1000
        assert found["outcomes"].keys() == plain["outcomes"].keys()
        assert {name.partition("[")[0] for name in differing} == PRIVATE.keys(), differing
        assert seen["requests"] >= seen["replies"] > 0
        assert bool(seen["steps"]) == (tapped == "debug")
