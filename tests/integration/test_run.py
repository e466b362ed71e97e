"""Programs that know nothing of the tap, started with `openrouter-tap run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Logs

from openrouter_tap import cli
from openrouter_tap.simulator import running
from test_servers import served

STARTUP = str(Path(cli.__file__).with_name("_startup"))
RUN = [sys.executable, "-m", "openrouter_tap", "run", "--"]
CALLS = """
import os, httpx, httpx2

URL, HEADERS = os.environ["URL"], {"Authorization": "Bearer x"}

def ask(library, who):
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "user": who}
    with library.Client(headers={**HEADERS, "x-session-id": who}) as client:
        assert client.post(URL, json=body).json()["usage"]["cost"] > 0
"""
FAMILY = f"""
{CALLS}
import multiprocessing, subprocess, sys

def work(who):
    ask(httpx, who)
    ask(httpx2, who)

if __name__ == "__main__":
    work("parent")
    for method in ("fork", "spawn", "forkserver"):
        child = multiprocessing.get_context(method).Process(target=work, args=[method])
        child.start()
        child.join()
        assert child.exitcode == 0
    subprocess.run(["sh", "-c", sys.executable + " -c 'import family; family.work(str(1))'"], check=True)
"""
WSGI = f"""
{CALLS}
def app(environ, start_response):
    for library in (httpx, httpx2):
        ask(library, "gunicorn")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI = """
import os, httpx, httpx2

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    for library in (httpx, httpx2):
        async with library.AsyncClient(headers={"Authorization": "Bearer x"}) as client:
            await client.post(os.environ["URL"], json={"model": "openai/gpt-4o-mini", "messages": []})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with running() as origin:
        yield origin


@pytest.fixture
def folder(tmp_path: Path, origin: str, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs are, in an environment that taps the look-alike."""
    monkeypatch.setenv("URL", f"{origin}/api/v1/chat/completions")
    monkeypatch.setenv("OPENROUTER_TAP_HOSTS", origin.removeprefix("http://"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "calls.py").write_text(CALLS)
    return tmp_path


def start(folder: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_every_process_of_a_program_is_tapped(folder: Path, logs: Logs) -> None:
    """The program, its children by fork, spawn, forkserver and a shell: each call of both libraries leaves a line."""
    (folder / "family.py").write_text(FAMILY)
    done = start(folder, "family.py")

    assert (done.returncode, done.stderr) == (0, "")
    found = logs.read()
    assert Counter(Counter(record["pid"] for record in found).values()) == {2: 5}
    assert all(record["fields"]["cost"]["source"] == "provider" for record in found)


@pytest.mark.parametrize("server", ["gunicorn", pytest.param("uvicorn", marks=pytest.mark.soak)])
def test_servers_with_workers(server: str, folder: Path, logs: Logs) -> None:
    """Two workers of an unchanged application: every call is recorded once."""
    (folder / "wsgi.py").write_text(WSGI)
    (folder / "asgi.py").write_text(ASGI)
    commands = {
        "gunicorn": ["-m", "gunicorn", "--log-level", "critical", "-w", "2", "-b", "127.0.0.1:PORT", "wsgi:app"],
        "uvicorn": ["-m", "uvicorn", "--log-level", "critical", "--workers", "2", "--port", "PORT", "asgi:app"],
    }
    with served(["-m", "openrouter_tap", "run", *commands[server]], folder) as (_, address):
        for _ in range(10):
            assert httpx.get(address, timeout=30).status_code == 200

    found = logs.read()
    assert [record["fields"]["outcome"] for record in found] == ["completed"] * 20
    assert len({record["fields"]["generation_id"] for record in found}) == 20


def test_the_process_is_the_programs_own(folder: Path) -> None:
    """Arguments, standard input, output and exit code are not between anything."""
    code = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(7)"
    done = start(folder, "-c", code, "--help", "--", "a b", input="from stdin")

    assert (done.returncode, done.stdout, done.stderr) == (7, "['--help', '--', 'a b'] from stdin\n", "")


def test_a_signal_reaches_the_program(folder: Path) -> None:
    """The program has the very process that was started, and dies of a signal as it would have."""
    code = "import signal, sys; print(signal.getsignal(signal.SIGINT).__name__, flush=True); sys.stdin.read()"
    with subprocess.Popen([*RUN, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"default_int_handler\n"
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == -signal.SIGTERM


def test_a_pipe_that_nobody_reads_ends_other_programs(folder: Path) -> None:
    """Python ignores SIGPIPE; what it starts must not."""
    done = start(folder, "sh", "-c", "trap '' HUP; (yes; echo $? >&2) | head -1")

    assert (done.stdout, done.stderr) == ("y\n", f"{128 + signal.SIGPIPE}\n")


@pytest.mark.parametrize("path", [None, "", ":a::b:", f"{STARTUP}:a:", f"{STARTUP}:"])
def test_the_path_of_the_program_is_kept(path: str | None, tmp_path: Path) -> None:
    """What was on PYTHONPATH follows our folder as it was, with the empty entries that are the current folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {} if path is None else {"PYTHONPATH": path}
    done = start(tmp_path, "sh", "-c", "echo $PYTHONPATH", env=environment)

    kept = path.removeprefix(f"{STARTUP}:") if path else None
    assert done.stdout == (STARTUP if path in (None, "") else f"{STARTUP}:{kept}") + "\n", done.stderr


def test_off_is_off(folder: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OPENROUTER_TAP=off nothing is recorded, nor is the tap imported."""
    monkeypatch.setenv("OPENROUTER_TAP", "off")
    code = "import sys, calls; calls.ask(calls.httpx, 'x'); print('openrouter_tap' in sys.modules)"
    done = start(folder, "-c", code)

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert logs.read() == []


def test_nothing_is_imported_before_it_is_needed(folder: Path) -> None:
    """A process that makes no client has no HTTP library and no tap forced upon it; the first client brings both."""
    code = (
        "import sys\n"
        "ours = {'httpx', 'httpx2', 'openrouter_tap', 'logging', 'typing'}\n"
        "print(sorted(ours & set(sys.modules)))\n"
        "import httpx2; print('httpx' in sys.modules, 'openrouter_tap' in sys.modules)\n"
        "httpx2.Client(); print('openrouter_tap' in sys.modules)\n"
    )
    done = start(folder, "-c", code)

    assert (done.stdout, done.stderr) == ("[]\nFalse False\nTrue\n", "")


def test_httpx2_can_still_stand_in_for_httpx(folder: Path, logs: Logs) -> None:
    """``alias_httpx()`` refuses once httpx is imported: the tap does not import it first."""
    code = "import httpx2; httpx2.alias_httpx(); import httpx, calls; calls.ask(httpx, 'x'); print(httpx is httpx2)"
    done = start(folder, "-c", code)

    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert len(logs.read()) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_another_sitecustomize_is_run_as_well(fails: bool, folder: Path, logs: Logs) -> None:
    """The one that ours hides runs, may import httpx, and may fail, which `site` reports as ever."""
    text = "import httpx, os; os.environ['SEEN'] = __name__; is_mine = True\n"
    (folder / "sitecustomize.py").write_text(text + "raise RuntimeError('as asked')" * fails)
    code = (
        "import os, sys, calls; calls.ask(calls.httpx, 'x'); print(os.environ['SEEN'], 'sitecustomize' in sys.modules)"
    )
    done = start(folder, "-c", code)

    assert (done.returncode, done.stdout) == (0, f"sitecustomize {not fails}\n")
    assert ("RuntimeError: as asked" in done.stderr) == fails
    assert len(logs.read()) == 1


def test_an_interpreter_that_cannot_import_the_tap(folder: Path, logs: Logs) -> None:
    """The program runs untapped and says so once, where it makes its first client."""
    (folder / "msgspec.py").write_text("raise ImportError('no msgspec here')")
    code = "import calls; calls.ask(calls.httpx, 'x'); calls.ask(calls.httpx2, 'x')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([STARTUP, str(folder)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no msgspec here") == done.stderr.count("are not recorded") == 1
    assert not logs.folder.exists()


def test_a_program_that_is_not_there(folder: Path) -> None:
    """Exit codes as those of shells, and no traceback."""
    (folder / "data").write_text("no program")
    missing, refused, empty = (start(folder, name) for name in ("no-such-program", "./data", ""))

    assert (missing.returncode, refused.returncode, empty.returncode) == (127, 126, 127)
    assert empty.stderr == "openrouter-tap run: the name of the program is empty\n"
    assert missing.stderr == "openrouter-tap run: no-such-program: No such file or directory\n"
