"""Notifications to systemd: real datagrams on a socket of our own."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Rig

from rekindle.daemon import log
from rekindle.daemon.service import sd_notify
from rekindle.state.errors import ConfigError


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket that takes the place of systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def heard(sock: socket.socket) -> list[str]:
    """All that has arrived."""
    sock.setblocking(False)
    lines = []
    try:
        while True:
            lines += sock.recv(4096).decode().split("\n")
    except BlockingIOError:
        return lines


def test_a_ping_comes_early_enough_and_no_oftener_than_it_must(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Well within WATCHDOG_USEC however the ticks fall, and a status only where it is new."""
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    line = sd_notify.Lifeline()
    assert line.interval == 2.0
    line.tick_was_good(100.0, "1 running")
    line.tick_was_good(100.5, "1 running")
    line.tick_was_good(101.2, "2 running")
    assert ["WATCHDOG=1", "STATUS=1 running", "WATCHDOG=1", "STATUS=2 running"] == heard(manager)


def test_nothing_is_pinged_for_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCHDOG_PID names who is waited for."""
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert sd_notify.watchdog_seconds() is None
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.setenv("WATCHDOG_USEC", "nonsense")
    assert sd_notify.watchdog_seconds() is None


def test_a_daemon_says_when_it_is_ready_alive_and_stopping(
    rig: Rig, manager: socket.socket
) -> None:
    """READY after the home is open, WATCHDOG from the loop, STOPPING before it ends."""
    rig.start(WATCHDOG_USEC="3000000")
    said = []
    end = time.monotonic() + 60
    while "READY=1" not in said or "WATCHDOG=1" not in said:
        assert time.monotonic() < end, said
        said += manager.recv(4096).decode().split("\n")
    assert said.index("READY=1") < said.index("WATCHDOG=1")
    assert rig.end() == 0
    assert "STOPPING=1" in heard(manager)


def test_a_value_of_several_lines_reaches_the_journal_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The binary form of the protocol, also for names that the journal would drop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        monkeypatch.setattr(log, "_JOURNAL", str(tmp_path / "journal"))
        assert log.to_journal(
            {"event": "epoch_ended", "level": "warning", "job": "a-1", "val-loss": "1\n2"},
            "epoch ended",
        )
        data = sock.recv(65536)
    fields = {}
    while data:
        name, _, data = data.partition(b"\n")
        size = int.from_bytes(data[:8], "little")
        fields[name.decode()] = data[8 : 8 + size].decode()
        assert data[8 + size : 9 + size] == b"\n"
        data = data[9 + size :]
    assert fields == {
        "MESSAGE": "epoch ended",
        "SYSLOG_IDENTIFIER": "rekindle",
        "PRIORITY": "4",
        "REKINDLE_EVENT": "epoch_ended",
        "REKINDLE_JOB": "a-1",
        "REKINDLE_VAL_LOSS": "1\n2",
    }


def test_without_a_journal_the_error_is_left_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A refusal is never swallowed."""
    monkeypatch.setattr(log, "_JOURNAL", str(tmp_path / "none"))
    assert not log.refuse(ConfigError("Bad.", hint="Fix it."))
    assert not log.under_journal()


def test_a_manager_that_reads_nothing_holds_nothing_up(manager: socket.socket) -> None:
    """Its socket takes a few messages and is full then; the loop that sends them must go round."""
    sending = threading.Thread(
        target=lambda: [sd_notify.notify("STATUS=waiting") for _ in range(16)], daemon=True
    )
    sending.start()
    sending.join(60)
    assert not sending.is_alive()
    assert heard(manager)


def test_more_time_is_asked_for_well_before_the_last_time_is_over(manager: socket.socket) -> None:
    """Not at each of four ticks a second."""
    line = sd_notify.Lifeline()
    for tick in range(41):
        line.more_time(100 + tick / 4)
    assert heard(manager) == [sd_notify.MORE_TIME] * 3
