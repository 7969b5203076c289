"""A log that cannot be written ends and stalls no daemon, and `ls` says so."""

import contextlib
import os
from pathlib import Path

import pytest
from rig import Rig, wait_for

GOOD = 'command = ["true"]\nworkdir = "/"\n'
BROKEN = "The daemon's log cannot be written: "


def redirected(rig: Rig, where: str, *options: str) -> None:
    """Start a daemon whose standard output and error a shell has redirected."""
    rig.start_in("sh", "-c", f'exec "$@" {where}', "sh", options=options)
    wait_for(rig.home.daemon_status.exists, "the daemon is up")


def drained(reader: int) -> bytes:
    """Return what stands in the pipe; a full pipe may end at any multiple of a page."""
    text = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(reader, 1 << 16):
            text += piece
    return text


@pytest.mark.parametrize("kind", ["reader ends", "nobody reads", "disk is full"])
def test_a_log_that_cannot_be_written_is_reported(rig: Rig, tmp_path: Path, kind: str) -> None:
    """The daemon serves on, and its loop waits for no reader; the rig watches it."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    target = "/dev/full" if kind == "disk is full" else fifo
    redirected(rig, f">{target} 2>&1")
    if kind == "reader ends":
        os.close(reader)
    elif kind == "nobody reads":
        filler = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(filler, b"x" * 4096)
        os.close(filler)
    for n in range(3):
        rig.drop("x = ", f"bad{n}.toml")
    rig.drop(GOOD, "a.toml")
    rig.wait_state("a-1", "done")
    why = {
        "reader ends": "Broken pipe.",
        "nobody reads": "its reader does not read.",
        "disk is full": "No space left on device.",
    }
    wait_for(lambda: BROKEN + why[kind] in rig.cli("ls"), "ls says it")
    if kind == "nobody reads":
        log = drained(reader)
        rig.drop(GOOD, "b.toml")
        rig.wait_state("b-1", "done")
        wait_for(lambda: BROKEN not in rig.cli("ls"), "ls says no more")
        log += drained(reader)
        assert b"lines of this log could not be written" in log
        os.close(reader)
    assert rig.end() == 0


def test_a_daemon_without_standard_streams_serves(rig: Rig) -> None:
    """Its files do not become standard error: what is printed there would damage them."""
    redirected(rig, "<&- >&- 2>&-")
    rig.drop(GOOD, "a.toml")
    rig.wait_state("a-1", "done")
    assert rig.daemon is not None
    for fd in (0, 1, 2):
        assert os.readlink(f"/proc/{rig.daemon.pid}/fd/{fd}") == os.devnull
    assert rig.end() == 0
