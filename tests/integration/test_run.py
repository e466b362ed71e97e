"""Programs that know nothing of the tap, started with `openrouter-tap run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Logs

import cipherlog_core
from openrouter_tap import cli
from openrouter_tap._bridge import SWITCH
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
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
ASGI = """
import os, httpx, httpx2

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    for library in (httpx, httpx2):
        async with library.AsyncClient(headers={"Authorization": "Bearer x"}) as client:
            await client.post(os.environ["URL"], json={"model": "openai/gpt-4o-mini", "messages": []})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
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


GUNICORN = ["gunicorn", "-p", "pid", "--log-level", "critical", "-w", "2", "-b", "127.0.0.1:PORT", "wsgi:app"]
RESTARTS = {
    "gunicorn HUP": GUNICORN,
    "gunicorn USR2": GUNICORN,
    "uvicorn --reload": ["uvicorn", "--log-level", "critical", "--reload", "--port", "PORT", "asgi:app"],
}


@pytest.mark.soak
@pytest.mark.parametrize("how", RESTARTS)
def test_servers_that_start_their_workers_anew(how: str, folder: Path, logs: Logs) -> None:
    """After a change of the code, or by another master that the first one became: every call is recorded once."""
    (folder / "wsgi.py").write_text(WSGI)
    (folder / "asgi.py").write_text(ASGI)
    workers: list[str] = []

    def ask_until(is_enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 40
        while not is_enough():
            assert time.monotonic() < deadline
            with suppress(httpx.ConnectError):
                workers.append(httpx.get(address, timeout=30).text)

    program, *options = RESTARTS[how]
    program = str(Path(sys.executable).with_name(program))  # not -m: gunicorn starts itself anew by its file
    with served(["-m", "openrouter_tap", "run", "--", program, *options], folder) as (process, address):
        ask_until(lambda: len(workers) >= 6)
        first, upgraded = set(workers), None
        if how == "gunicorn USR2":
            process.send_signal(signal.SIGUSR2)
            ask_until((folder / "pid.2").exists)
            upgraded = int((folder / "pid.2").read_text())
            process.terminate()
            process.wait(30)
        elif how == "gunicorn HUP":
            process.send_signal(signal.SIGHUP)
        else:
            (folder / "asgi.py").write_text(f"{ASGI}# changed\n")
        ask_until(lambda: len([worker for worker in workers if worker not in first]) >= 6)
        if upgraded is not None:
            os.kill(upgraded, signal.SIGTERM)

    found = logs.read()
    assert [record["fields"]["outcome"] for record in found] == ["completed"] * 2 * len(workers)
    assert len({record["fields"]["generation_id"] for record in found}) == 2 * len(workers)
    assert {str(record["pid"]) for record in found} == set(workers)


def test_the_process_is_the_programs_own(folder: Path) -> None:
    """Arguments, standard input, output and exit code are not between anything."""
    code = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(7)"
    done = start(folder, "-c", code, "--help", "--", "a b", input="from stdin")

    assert (done.returncode, done.stdout, done.stderr) == (7, "['--help', '--', 'a b'] from stdin\n", "")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_program(sent: signal.Signals, folder: Path, logs: Logs) -> None:
    """The program has the very process that was started, dies of a signal as it would have, and keeps its lines."""
    code = "import calls, sys; calls.ask(calls.httpx, 'x'); print('asked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [*RUN, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == -sent
    assert (b"KeyboardInterrupt" in errors) == (sent == signal.SIGINT)
    cipherlog_core.start("reader")  # takes over what the program had no time to write
    assert [record["pid"] for record in logs.read()] == [process.pid]


def test_a_program_that_is_restarted(folder: Path, logs: Logs) -> None:
    """It becomes itself anew, as servers do for an upgrade, and is started once more below `run`: a line a call."""
    again = "[sys.executable, __file__]", f"[*{RUN!r}, __file__]", "None"
    (folder / "again.py").write_text(
        "import calls, os, sys\n"
        "calls.ask(calls.httpx, 'x'), calls.ask(calls.httpx2, 'x')\n"
        "turn = int(os.environ.get('TURN', 0))\n"
        f"command = [{', '.join(again)}][turn]\n"
        "os.environ['TURN'] = str(turn + 1)\n"
        "print(os.environ['PYTHONPATH'], flush=True)\n"
        "if command:\n    os.execv(command[0], command)\n"
    )
    done = start(folder, "again.py")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{STARTUP}{os.pathsep}{folder}\n" * 3
    assert len(logs.read()) == 6


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


@pytest.mark.parametrize("text", [text for text, is_on in SWITCH.items() if not is_on])
def test_off_is_off(text: str, folder: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OPENROUTER_TAP=off, however it is spelled, nothing is recorded, nor is the tap imported."""
    monkeypatch.setenv("OPENROUTER_TAP", text)
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


def test_a_library_in_a_zip(folder: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tapped like any other, though somebody has looked for it before and loaded something else then."""
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("other.py", "")
        for path in Path(httpx.__file__).parent.rglob("*.py"):
            archive.write(path, path.relative_to(Path(httpx.__file__).parents[1]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "all.zip"), str(folder)]))
    code = (
        "import importlib.util; importlib.util.find_spec('httpx')\n"
        "import other, calls; calls.ask(calls.httpx, 'x'); print('all.zip' in calls.httpx.__file__)"
    )
    done = start(folder, "-c", code)

    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    assert len(logs.read()) == 1


def test_a_sitecustomize_that_puts_itself_first(folder: Path, logs: Logs) -> None:
    """As OpenTelemetry's does, so that it hides ours from the children: each of them runs both, and is tapped."""
    other = folder / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(
        "import os\n"
        f"os.environ['PYTHONPATH'] = {str(other)!r} + os.pathsep + os.environ['PYTHONPATH']\n"
        "print('other', flush=True)\n"
    )
    (folder / "child.py").write_text("import calls; calls.ask(calls.httpx, 'x')")
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, 'child.py']))"
    startup = os.pathsep.join([STARTUP, str(other), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": startup},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "other\nother\n", "")
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
