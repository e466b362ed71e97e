"""A real rsyslog, with the configuration that is shipped, follows our files through rotation and gzip."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulk import BulkServer
from following import DEPLOY, RIGHT, Verdict, judge, on_disk, producing, rotations, wait_for

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
MODULES = list(Path("/usr/lib").glob("*/rsyslog/omelasticsearch.so")) + list(Path("/usr/lib/rsyslog").glob("ome*.so"))

pytestmark = pytest.mark.skipif(
    not (RSYSLOGD and MODULES), reason="apt-get install -y --no-install-recommends rsyslog rsyslog-elasticsearch"
)


@pytest.fixture
def server() -> Iterator[BulkServer]:
    server = BulkServer()
    yield server
    server.close()


class Rsyslog:
    """The shipped files, with nothing changed but paths and port, or what *changes* says."""

    def __init__(self, home: Path, folder: Path, server: BulkServer, changes: dict[str, str] | None = None) -> None:
        (home / "work").mkdir(parents=True)
        replaced = {"/var/spool/rsyslog": str(home / "work"), "/var/log/app": str(folder), '"9200"': f'"{server.port}"'}
        text = "".join((DEPLOY / "rsyslog" / name).read_text() for name in ("tail.conf", "to-elasticsearch.conf"))
        for old, new in (replaced | (changes or {})).items():
            assert old in text
            text = text.replace(old, new)
        self.home, self.config, self.server = home, home / "rsyslog.conf", server
        self.process: subprocess.Popen[bytes] | None = None
        self.config.write_text(text)

    def start(self) -> None:
        assert RSYSLOGD
        with (self.home / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [RSYSLOGD, "-n", "-f", self.config, "-i", self.home / "pid"], stdout=output, stderr=output
            )

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
                self.process.wait(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o700)
    return folder


def test_the_configuration_is_accepted_without_a_word(tmp_path: Path, folder: Path, server: BulkServer) -> None:
    """``rsyslogd -N1`` names what it does not know, though it then says 0; a misspelt word is seen."""
    said = []
    for changes in ({}, {"maxDiskSpace": "maxDiscSpace"}):
        rsyslog = Rsyslog(tmp_path / f"r{len(said)}", folder, server, changes)
        done = subprocess.run(
            [str(RSYSLOGD), "-N1", "-f", rsyslog.config], capture_output=True, text=True, timeout=30, check=False
        )
        lines = done.stderr.splitlines()
        said.append([line for line in lines if "version" not in line and "End of config" not in line])

    assert said[0] == []
    assert "maxdiscspace" in "".join(said[1]).lower()


def follow(rsyslog: Rsyslog, folder: Path, count: int, per_second: int, **settings: object) -> Counter[bytes]:
    """The lines of the closed segments, after a producer's life beside *rsyslog* and time for it to send them."""
    rsyslog.start()
    try:
        with producing(folder, count, per_second, **settings):
            pass
        written = on_disk(folder, is_closed=True)
        wait_for(lambda: not (written.keys() - rsyslog.server.lines.keys()), 60)
    finally:
        rsyslog.stop()
    return written


def test_lines_through_rotations_arrive_once_and_whole(tmp_path: Path, folder: Path, server: BulkServer) -> None:
    """The share of each run: all three kinds of files, byte for byte, through rotations and gzip."""
    written = follow(Rsyslog(tmp_path / "rsyslog", folder, server), folder, 800, 800, LOG_GZIP_AFTER=1)

    assert judge(written, server.lines) == RIGHT
    assert server.broken == []
    assert set(server.indices) == {f"openrouter-tap-{event}" for event in ("numbered", "openrouter_cost", "routing")}
    assert rotations(folder)[0] >= 10


@pytest.mark.soak
def test_a_shipper_that_cuts_lines_is_found_out(tmp_path: Path, folder: Path, server: BulkServer) -> None:
    """The negative control: without our ``maxMessageSize`` rsyslog cuts the long lines at 8 kB."""
    rsyslog = Rsyslog(tmp_path / "rsyslog", folder, server, {'maxMessageSize="512k"': 'maxMessageSize="8k"'})

    written = follow(rsyslog, folder, 600, 800)

    assert judge(written, server.lines).missing


@pytest.mark.soak
def test_two_hundred_rotations_with_gzip(tmp_path: Path, folder: Path, server: BulkServer) -> None:
    """All lines of more than 200 segments arrive once and whole, each segment compressed behind the reader."""
    rsyslog = Rsyslog(tmp_path / "rsyslog", folder, server)

    written = follow(rsyslog, folder, 12_000, 400, LOG_GZIP_AFTER=2)

    assert tell(written, server, folder) == RIGHT
    assert server.broken == []
    assert rotations(folder)[0] >= 200
    assert wait_for(lambda: rotations(folder)[1] >= 150)


@pytest.mark.soak
@pytest.mark.parametrize(("is_killed", "overloads"), [(True, 0), (False, 50)])
def test_an_outage_with_kills_or_overload_loses_nothing(
    is_killed: bool, overloads: int, tmp_path: Path, folder: Path, server: BulkServer
) -> None:
    """The destination away while rsyslog is killed five times, or away and then overloaded: each line is stored once.

    On the wire some come twice: the ids make them one.
    """
    rsyslog = Rsyslog(tmp_path / "rsyslog", folder, server)
    rsyslog.start()
    server.is_away = True
    try:
        with producing(folder, 6_000, 400, LOG_GZIP_AFTER=60) as producer:
            for number in range(5):
                before = rotations(folder)[0]
                assert wait_for(lambda before=before: rotations(folder)[0] >= before + 15)  # it has something to lose
                if is_killed:
                    rsyslog.stop(signal.SIGKILL)
                    (rsyslog.home / "pid").unlink(missing_ok=True)
                server.is_away = number < 2
                server.overloads = overloads
                if is_killed:
                    rsyslog.start()
            assert producer.wait(120) == 0
        written = on_disk(folder, is_closed=True)
        wait_for(lambda: len(server.stored) >= len(written), 120)
    finally:
        rsyslog.stop()

    tell(written, server, folder)
    assert judge(written, Counter(server.stored.values())) == RIGHT
    assert server.unanswered


def tell(written: Counter[bytes], server: BulkServer, folder: Path) -> Verdict:
    verdict = judge(written, server.lines)
    segments, compressed = rotations(folder)
    print(
        f"\n{len(written)} lines of {segments} segments ({compressed} compressed): {len(verdict.missing)} missing, "
        f"{len(verdict.doubled)} twice on the wire, {len(verdict.invented)} cut or changed; {len(server.stored)} stored"
    )
    return verdict
