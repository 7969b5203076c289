"""The keeper's record of a log's growth gives each line its time, also after a cut."""

import datetime as dt
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import Rig

from rekindle.daemon.logs.times import Times
from rekindle.jobs.keeper import log_cap
from rekindle.jobs.keeper.log_cap import LogCap
from rekindle.jobs.keeper.log_times import LogTimes

STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  (.*)")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.mark.parametrize("collapses", [True, False])
def test_a_line_keeps_its_time_when_others_are_cut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collapses: bool
) -> None:
    if not collapses:
        monkeypatch.setattr(log_cap, "_collapse", lambda *_: False)
    clock = Clock(monkeypatch)
    log = tmp_path / "log"
    times = LogTimes(log, tmp_path / "times")
    cap = LogCap(log, 2**16, times.cut)
    for _ in range(3000):
        with log.open("a") as file:
            file.write(f"{clock.now:10.0f} some words of a line\n")
        times.look()
        cap.look()
        clock.now += 1
    assert cap.cut > 0
    found = Times.read(tmp_path / "times")
    offset = 0
    seen = 0
    for line in log.read_bytes().splitlines(keepends=True):
        offset += len(line)
        words = line.split()
        if words[0].isdigit() and len(words) == 6:
            seen += 1
            assert found.at(offset) == float(words[0]), line
    assert seen > 1000
    begin = found.since(3900.0)
    assert log.read_bytes()[begin:].split()[0] == b"3900"


def test_the_record_stays_small_and_survives_a_clock_that_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of output, seen each second."""
    clock = Clock(monkeypatch)
    log = tmp_path / "log"
    log.touch()
    times = LogTimes(log, tmp_path / "times")
    for second in range(86_400):
        os.truncate(log, second + 1)
        times.look()
        clock.now += 1
    assert (tmp_path / "times").stat().st_size < 700_000
    found = Times.read(tmp_path / "times")
    for second in (10, 3000, 40_000, 86_000):
        at = found.at(second)
        assert at is not None
        assert 0 <= at - (1000 + second - 1) <= 8
    clock.now = 500.0
    os.truncate(log, 90_000)
    times.look()
    assert Times.read(tmp_path / "times").last == 500.0


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_any_file_is_read(lines: list[bytes]) -> None:
    """Torn lines, numbers out of order, no numbers."""
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(b"T 5.0 10\n" + b"\n".join(lines) + b"\nT 7.0 5\nT 1 2 3\nC x\nT 8.0 9")
        file.flush()
        found = Times.read(Path(file.name))
        assert found.last == 8.0
        assert found.at(1) is not None
        found.since(6.0)


def test_a_job_s_lines_have_times_and_can_be_asked_for_since_one(rig: Rig, tmp_path: Path) -> None:
    """Over two attempts, of which only the second printed since then."""
    mark = tmp_path / "second"
    rig.drop(
        'command = ["sh", "-c", "echo early; sleep 1.5; echo later; '
        f'test -e {mark} || {{ touch {mark}; exit 3; }}"]\n'
        f'workdir = "{tmp_path}"\nretry = {{ backoff = "2s..2s" }}\n',
        "a.toml",
    )
    assert rig.start("--until-idle").wait(120) == 0
    attempts = rig.show("a")["attempts"]
    assert len(attempts) == 2
    lines = [STAMP.fullmatch(line) for line in rig.cli("logs", "a", "-t").splitlines()]
    words = [found[2] for found in lines if found]
    assert words == ["early", "later"]
    moments = [dt.datetime.fromisoformat(found[1]).timestamp() for found in lines if found]
    # the keeper looks once a second
    assert 0 <= moments[1] - moments[0] <= 4
    assert moments[0] >= int(attempts[1]["started_at"])
    middle = dt.datetime.fromtimestamp(attempts[1]["started_at"] - 0.2).isoformat(" ")
    assert rig.cli("logs", "a", "--since", middle) == "early\nlater\n"
    assert rig.cli("logs", "a", "--since", "1h") == (
        "--- attempt 1\nearly\nlater\n--- attempt 2\nearly\nlater\n"
    )
    assert rig.cli("logs", "a", "--since", "1h", "-n", "1", "--attempt", "1") == "later\n"
    followed = rig.cli("logs", "a", "-f", "--since", "1h")
    assert followed.startswith("early\nlater\n--- attempt 2\nearly\n")


def test_a_log_of_an_older_version_is_printed_with_a_note(rig: Rig, tmp_path: Path) -> None:
    rig.drop(f'command = ["echo", "hello"]\nworkdir = "{tmp_path}"\n', "a.toml")
    assert rig.start("--until-idle").wait(60) == 0
    rig.home.run("a-1").log_times(1).unlink()
    for words in (("--times",), ("--since", "1h")):
        done = rig.call("logs", "a", *words)
        assert done.stdout.strip() == "hello"
        assert "has no times: it was written by an older version" in done.stderr


def test_a_bar_is_clean_in_a_pipe_and_whole_with_raw(rig: Rig, tmp_path: Path) -> None:
    script = r"printf '\r\033[1m1/2\033[0m\r\033[1m2/2\033[0m done\nlast'"
    rig.drop(f"command = ['sh', '-c', '''{script}''']\nworkdir = '{tmp_path}'\n", "a.toml")
    assert rig.start("--until-idle").wait(60) == 0
    assert rig.cli("logs", "a") == "2/2 done\nlast"
    assert "\x1b[1m1/2\x1b[0m" in rig.cli("logs", "a", "--raw")
    assert rig.cli("logs", "a", "-f") == "2/2 done\nlast"
