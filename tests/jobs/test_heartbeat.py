"""The heartbeat is exact to the step, and a torn one is never used."""

import os
import signal
import struct
import zlib
from pathlib import Path

import pytest

from rekindle.jobs import heartbeat
from rekindle.jobs.attempt.progress import Pace
from rekindle.jobs.heartbeat import Plan, Times


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
    data[256 + 40] ^= 0xFF
    path.write_bytes(data)
    assert heartbeat.read(path) is None


def test_a_missing_and_a_foreign_file_are_no_heartbeat(tmp_path: Path) -> None:
    """A command job only touches its heartbeat, which then holds no position."""
    assert heartbeat.read(tmp_path / "none") is None
    (tmp_path / "touched").write_bytes(b"")
    assert heartbeat.read(tmp_path / "touched") is None


def test_plan_and_pace_are_read_again_and_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    """A generator has no length: no number is invented for it."""
    beats = heartbeat.Heartbeat(tmp_path / "heartbeat", 1)
    beats.beat("step", 2, 230, stage=1, epoch_step=30, plan=Plan(40, 100), pace=0.25)
    beat = heartbeat.read(tmp_path / "heartbeat")
    assert beat is not None
    assert (beat.stage, beat.epoch_step) == (1, 30)
    assert (beat.plan, beat.pace) == (Plan(40, 100), 0.25)
    beats.beat("step", 2, 231, plan=Plan(10**30, None))
    beat = heartbeat.read(tmp_path / "heartbeat")
    assert beat is not None
    assert (beat.step, beat.plan, beat.pace) == (231, Plan(), None)


def older(count: int, attempt: int, step: int) -> bytes:
    """Make a slot as trainers of version 1 wrote it."""
    body = struct.pack("<4sIdI12sqq", b"rkh1", count, 1000.0, attempt, b"step", 3, step)
    return (body + struct.pack("<I", zlib.crc32(body))).ljust(64, b"\0")


def of_version_2(count: int, attempt: int, step: int) -> bytes:
    """Make a slot as trainers of version 2 wrote it: with plan and pace, without times."""
    fields = (count, 1000.0, attempt, b"step", 3, step, 0, 5, 10, 100, 0.25)
    body = struct.pack("<4sIdI12sqqqqqqd", b"rkh2", *fields)
    return (body + struct.pack("<I", zlib.crc32(body))).ljust(128, b"\0")


def test_a_beat_of_version_2_has_no_times_and_a_newer_one_has(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    path.write_bytes(of_version_2(8, 1, 41) + of_version_2(9, 1, 42))
    beat = heartbeat.read(path)
    assert beat is not None
    assert (beat.step, beat.plan, beat.pace, beat.times) == (42, Plan(10, 100), 0.25, None)
    assert heartbeat.times_of(beat) is None
    beats = heartbeat.Heartbeat(path, 2)
    for step in range(40, 44):
        beats.beat("step", 3, step, times=Times(useful=step, save=0.5))
        beat = heartbeat.read(path)
        assert beat is not None
        assert (beat.attempt, beat.step) == (2, step)
        assert beat.times == Times(useful=step, save=0.5)


def test_a_beat_of_an_older_trainer_is_read_and_followed_by_a_newer_one(tmp_path: Path) -> None:
    """The daemon is upgraded while a training runs; the next attempt writes into the same file."""
    path = tmp_path / "heartbeat"
    path.write_bytes(older(8, 1, 41) + older(9, 1, 42))
    beat = heartbeat.read(path)
    assert beat is not None
    assert (beat.attempt, beat.step, beat.plan) == (1, 42, Plan())
    beats = heartbeat.Heartbeat(path, 2)
    for step in range(40, 44):
        beats.beat("step", 3, step)
        beat = heartbeat.read(path)
        assert beat is not None
        assert (beat.attempt, beat.step) == (2, step)


def test_the_pace_is_that_of_steps_without_saves_and_validations() -> None:
    """Of long steps and of short ones, of single ones and of executions of several."""
    for seconds in (0.001, 0.5):
        pace, now, step = Pace(), 0.0, 0
        for epoch in range(30):
            pace.passed(step, 0, now)
            for n in range(1, 21):
                now += 20.0 if (epoch, n) == (0, 1) else seconds
                step += 1
                pace.passed(step, n, now)
            now += 7.0  # a validation
        assert pace.median == pytest.approx(seconds)
    for n in range(1, 41):
        now += 6.0
        step += 3
        pace.passed(step, 3 * n, now)
    assert pace.median == pytest.approx(2.0)


def test_one_slow_step_at_the_beginning_is_no_pace() -> None:
    """The first compiles: an estimate by it would be an hour for a minute."""
    pace = Pace()
    pace.passed(0, 0, 0.0)
    pace.passed(1, 1, 5.0)
    assert pace.median is None
    for n in range(2, 600):
        pace.passed(n, n, 5.0 + 0.004 * n)
    assert pace.median == pytest.approx(0.004, rel=0.1)
