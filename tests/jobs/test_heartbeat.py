"""The heartbeat is exact to the step, and a torn one is never used."""

import os
import signal
from pathlib import Path

from rekindle.jobs import heartbeat


def test_the_last_beat_survives_a_sigkill(tmp_path: Path) -> None:
    """Repeated steps can be counted exactly after the process has ended."""
    path = tmp_path / "heartbeat"
    pid = os.fork()
    if pid == 0:
        beats = heartbeat.Heartbeat(path, 3)
        for step in range(1000):
            beats.beat("step", step // 100, step)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)

    beat = heartbeat.read(path)

    assert beat is not None
    assert (beat.attempt, beat.section, beat.epoch, beat.step) == (3, "step", 9, 999)


def test_a_torn_slot_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """A kill within a write leaves the position one step behind."""
    path = tmp_path / "heartbeat"
    beats = heartbeat.Heartbeat(path, 1)
    beats.beat("step", 0, 41)
    beats.beat("step", 0, 42)
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF  # inside the slot of the second beat
    path.write_bytes(data)

    beat = heartbeat.read(path)
    assert beat is not None
    assert beat.step in {41, 42}
    data[104] ^= 0xFF
    path.write_bytes(data)
    assert heartbeat.read(path) is None


def test_a_missing_and_a_foreign_file_are_no_heartbeat(tmp_path: Path) -> None:
    """A command job only touches its heartbeat, which then holds no position."""
    assert heartbeat.read(tmp_path / "none") is None
    (tmp_path / "touched").write_bytes(b"")
    assert heartbeat.read(tmp_path / "touched") is None
