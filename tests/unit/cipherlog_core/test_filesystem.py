from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from cipherlog_core._filesystem import filesystem_of, make_folder, open_regular

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /srv/with\\040space rw - nfs4 server:/x rw
41 27 0:41 / /data rw shared:7 - btrfs /dev/vdb rw
42 27 0:42 / /data rw - xfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/log", "ext4"),
        ("/", "ext4"),
        ("/srv/with space/logs", "nfs4"),
        ("/srv/with spaceship", "ext4"),
        ("/data/logs", "xfs"),
    ],
)
def test_the_deepest_and_last_mount_holds_a_path(path: str, kind: str) -> None:
    """A mount hides what is below it and what was mounted there before; names match whole."""
    assert filesystem_of(path, MOUNTS) == kind


def test_folders_are_made_private(tmp_path: Path) -> None:
    """Each folder that is created is 0700; one that exists keeps its mode."""
    tmp_path.chmod(0o755)
    make_folder(str(tmp_path / "a" / "b"))

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]
    assert modes == [0o755, 0o700, 0o700]


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """`make_folder` does not pretend."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OSError, match="file"):
        make_folder(str(tmp_path / "file" / "logs"))


@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:
    """A link is not followed and a pipe not waited for."""
    path = tmp_path / "log.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "victim")

    with pytest.raises(OSError, match=r"log\.jsonl"):
        open_regular(str(path), os.O_RDWR | os.O_CREAT)
    assert not (tmp_path / "victim").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_who_owns_the_folder(tmp_path: Path) -> None:
    """A report by root does not lock the application out of its own log; what is there already keeps its owner."""
    os.chown(tmp_path, 65534, 65534)
    (tmp_path / "old").touch()
    for name in ("new", "old"):
        os.close(open_regular(str(tmp_path / name), os.O_RDWR | os.O_CREAT))

    make_folder(str(tmp_path / "logs" / ".spool"))
    assert [(tmp_path / name).stat().st_uid for name in ("new", "old", "logs", "logs/.spool")] == [
        65534,
        0,
        65534,
        65534,
    ]


def test_a_folder_of_any_depth(tmp_path: Path) -> None:
    """Too deep is an error of the system, not of ours."""
    make_folder(str(tmp_path / "/".join("a" * 300)))

    with pytest.raises(OSError, match="too long"):
        make_folder(str(tmp_path / "/".join("a" * 5000)))

    # Not left to pytest: its removal recurses, and the error turns up in the fourth run from now.
    subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)
