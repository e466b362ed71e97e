"""However a process ends, what was acknowledged is there, and nothing is said on stderr that is not the program's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import orjson
import pytest

import cipherlog_core
from cipherlog_core.reading import recover
from ending import CONTROLS, FIRST, LATE
from oracle import RIGHT, judge_kept

SCRIPT = Path(__file__).with_name("ending.py")
STATUS = {"SIGTERM": -signal.SIGTERM, "SIGINT": -signal.SIGINT, "exception": 1}
FEW = {"atexit first", "del first", "SIGTERM", "os._exit in a collection", "forgets", "talks"}
LEFT_TO_OTHERS = {"os._exit", "SIGTERM", "SIGINT", "os._exit in a collection"}
NEEDS = f"msgspec=={msgspec.__version__}", f"orjson=={orjson.__version__}"
SOURCE = Path(cipherlog_core.__file__).parents[1]


def assert_nothing_is_lost(python: Path | str, how: str, folder: Path) -> None:
    """Run a process that ends so, and judge what it left."""
    environment = {**os.environ, "LOG_DIR": str(folder), "PYTHONPATH": str(SOURCE)}
    command = [str(python), "-W", "error", str(SCRIPT), how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == STATUS.get(how, 0), done.stderr
    assert done.stderr == "" or (
        how == "exception" and done.stderr.rstrip().endswith("LookupError: of the program's own")
    )
    if how in LEFT_TO_OTHERS:
        recover(str(folder))
    kept = {(name, int(seq)) for name, seq in map(str.split, done.stdout.splitlines())}
    assert bool(kept) == (how not in FIRST)
    assert judge_kept(folder, kept | {("late", seq) for seq in range(LATE.get(how, 0))}) == RIGHT
    if how == "handler first":
        assert sum(path.read_text().count('"message":"late"') for path in folder.glob("*.jsonl")) == 1


def few(hows: Iterable[str]) -> list[object]:
    """All of them, most for the soak."""
    return [how if how in FEW else pytest.param(how, marks=pytest.mark.soak) for how in hows]


@pytest.mark.parametrize("how", few(LATE))
def test_the_end_of_a_process_loses_nothing(how: str, tmp_path: Path) -> None:
    """exit handlers, finalisers, threads, signals, os._exit; also where the first event of all comes that late."""
    assert_nothing_is_lost(sys.executable, how, tmp_path / "logs")


HANGS = """
import atexit, os, time, cipherlog_core
from cipherlog_core import _logfile
atexit.register(lambda: print(time.monotonic() - begin))  # behind the logger's own
logger = cipherlog_core.start("app")
logger.event("numbered", producer="main", seq=-1)  # wakes the writer, which then naps for 50 ms
time.sleep(0.02)
class Hanging:
    def __getattr__(self, name):
        return getattr(os, name)
    def {hangs}(self, *_):
        time.sleep(60)
_logfile.os = Hanging()
for seq in range(300):
    assert logger.event("numbered", producer="main", seq=seq)
time.sleep({nap})
begin = time.monotonic()
{end}
"""


@pytest.mark.soak
@pytest.mark.parametrize("end", ["", "assert not cipherlog_core.stop(2)"], ids=["exit", "stop"])
@pytest.mark.parametrize("hangs", ["write", "fsync"])
@pytest.mark.parametrize("nap", [0, 0.2], ids=["before the writer's turn", "in it"])
def test_an_end_on_a_disk_that_hangs(nap: float, hangs: str, end: str, tmp_path: Path) -> None:
    """The exit is held for two seconds, and so is `stop`; the next start writes what is left."""
    if hangs == "fsync":
        end = end.replace("assert not ", "")  # all is in the file: it is only not known to be on the disk
    code = HANGS.format(nap=nap, hangs=hangs, end=end)
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "LOG_DIR": str(tmp_path), "LOG_FSYNC_MS": "100" if hangs == "fsync" else "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    recover(str(tmp_path))

    assert float(done.stdout) <= 2.5  # a fifth for a machine that does much else
    assert judge_kept(tmp_path, {("main", seq) for seq in range(-1, 300)}) == RIGHT


DAEMON = """
import builtins, os, threading, time, cipherlog_core
from cipherlog_core._pipeline import PIPELINE
logger = cipherlog_core.start("app")
spool = PIPELINE.server_spool("app")
logger.event("numbered", producer="main", seq=0)
cipherlog_core.flush()
class Late:
    def __del__(self):
        os.write(1, b"%d" % logger.event("numbered", producer="main", seq=1))
builtins.late = Late()
held = threading.Event()
def hold():
    with {lock}:
        held.set()
        time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
held.wait()
"""


@pytest.mark.parametrize("lock", ["spool._lock", "spool.log._threads"])
def test_a_daemon_thread_that_runs_no_more_keeps_no_lock(lock: str, tmp_path: Path) -> None:
    """An event of the interpreter's end is written by its own call."""
    command = [sys.executable, "-W", "error", "-c", DAEMON.format(lock=lock)]
    environment = {**os.environ, "LOG_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    recover(str(tmp_path))

    assert (done.stdout, done.stderr, done.returncode) == ("1", "", 0)
    assert judge_kept(tmp_path, {("main", 0), ("main", 1)}) == RIGHT


@pytest.mark.parametrize("how", few(CONTROLS))
def test_an_end_that_is_wrong_is_caught(how: str, tmp_path: Path) -> None:
    """The negative control: lines that are lost, doubled or torn, a word on stderr, another status."""
    with pytest.raises(AssertionError, match=CONTROLS[how]):
        assert_nothing_is_lost(sys.executable, how, tmp_path / "logs")


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of the version, with what the logger needs, in an environment of its own."""
    found = [shutil.which(f"python{request.param}"), *Path.home().glob(f".pyenv/versions/{request.param}.*/bin/python")]
    base = next((str(path) for path in found if path and not _says(path)), None)
    if base is None:
        pytest.skip(f"Python {request.param} is not installed")
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([base, "-m", "venv", folder], check=True, timeout=120)
    made = folder / "bin" / "python"
    subprocess.run([made, "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDS], check=True, timeout=300)
    return made


def _says(python: Path | str) -> int:
    return subprocess.run([python, "-c", ""], capture_output=True, timeout=30, check=False).returncode


@pytest.mark.soak
@pytest.mark.parametrize("how", LATE)
def test_the_end_of_a_process_on_each_python(how: str, python: Path, tmp_path: Path) -> None:
    """Again and again: 12 times 18 ways are 216 ends on each, three at a time."""
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(assert_nothing_is_lost, python, how, tmp_path / str(number)) for number in range(12)]:
            done.result()
