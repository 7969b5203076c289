"""A trainer that prints gigabytes does not fill the disk, and the log says what was cut."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rig import Rig, wait_for

from rekindle.jobs.keeper import log_cap
from rekindle.jobs.keeper.log_cap import LogCap

LINE = "line {:09d} of a trainer that prints too much\n"
WIDTH = len(LINE.format(0))


def fill(path: Path, lines: int, first: int = 0) -> None:
    with path.open("a") as file:
        file.writelines(LINE.format(n) for n in range(first, first + lines))


def numbers(text: str) -> list[int]:
    return [
        int(line.split()[1])
        for line in text.splitlines()
        if line.startswith("line ") and len(line) == WIDTH - 1
    ]


@pytest.mark.parametrize("collapses", [True, False])
def test_head_and_tail_are_kept_with_a_notice_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collapses: bool
) -> None:
    """Repeatedly: the notice counts the bytes of all cuts."""
    if not collapses:
        monkeypatch.setattr(log_cap, "_collapse", lambda *_: False)
    path = tmp_path / "attempt-0001.log"
    cap = LogCap(path, 2**20)
    written = 0
    for _ in range(3):
        fill(path, 40_000, written)
        written += 40_000
        assert cap.look()
        assert path.stat().st_size <= 2**20
        assert not cap.look()
    text = path.read_text()
    assert text.count("rekindle: ") == 1
    assert f"rekindle: {cap.cut} bytes were cut out here" in text
    assert len(text) + cap.cut == written * WIDTH
    found = numbers(text)
    assert found[0] == 0
    assert found[-1] == written - 1
    steps = {b - a for a, b in itertools.pairwise(found)}
    assert len(steps) == 2, "one gap, all else in order"
    assert 1 in steps


def test_a_log_below_the_cap_is_not_changed(tmp_path: Path) -> None:
    """The usual case costs one stat."""
    path = tmp_path / "attempt-0001.log"
    fill(path, 100)
    before = path.read_bytes()
    assert not LogCap(path, 2**20).look()
    assert path.read_bytes() == before


def test_no_line_is_dropped_at_the_cut_while_the_trainer_prints(tmp_path: Path) -> None:
    """The tail has no gap after many cuts while a process appends."""
    path = tmp_path / "attempt-0001.log"
    path.touch()
    if not log_cap._collapse(_two_blocks(tmp_path), 4096, 4096):
        pytest.skip("this file system cannot collapse a range")
    code = f"import os\nn = 0\nwhile True:\n os.write(1, ({LINE!r}.format(n)).encode()); n += 1"
    with path.open("ab") as log:
        printer = subprocess.Popen([sys.executable, "-c", code], stdout=log)
    try:
        cap = LogCap(path, 2**20)
        cuts = 0

        def cut_often() -> bool:
            nonlocal cuts
            cuts += cap.look()
            return cuts >= 5

        wait_for(cut_often, "five cuts")
    finally:
        printer.kill()
        printer.wait()
    cap.look()
    text = path.read_text()
    found = numbers(text.partition("is kept.")[2])
    assert found == list(range(found[0], found[0] + len(found)))
    assert len(text) + cap.cut == (found[-1] + 1) * WIDTH


def _two_blocks(folder: Path) -> int:
    fd = os.open(folder / "probe", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(16384))
    return fd


def test_only_the_newest_logs_of_a_job_are_kept(tmp_path: Path) -> None:
    """A job with five hundred attempts keeps the logs of the last ones."""
    for n in range(1, 8):
        (tmp_path / f"attempt-{n:04d}.log").touch()
        (tmp_path / f"attempt-{min(n, 4):04d}.times").touch()
    (tmp_path / "other.txt").touch()
    log_cap.remove_older(tmp_path, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "attempt-0005.log",
        "attempt-0006.log",
        "attempt-0007.log",
        "other.txt",
    ]
    assert log_cap.remove_older(tmp_path, 3) == []


@pytest.mark.slow  # it prints for seconds
def test_a_trainer_that_prints_endlessly_does_not_fill_the_disk(tmp_path: Path) -> None:
    """The keeper of a real job cuts; `rekindle.toml` sets the size and the number of logs."""
    (tmp_path / "loud.py").write_text(
        "import os, sys\nprint('first words', flush=True)\n"
        f"for n in range(400_000): os.write(1, {LINE!r}.format(n).encode())\n"
        "print('REKINDLE_LOG_KEEP' in os.environ, 'last words')\nsys.exit(3)\n"
    )
    rig = Rig(tmp_path / "home")
    rig.home.config.write_text('[logs]\nmax_bytes = "1MiB"\nkeep = 2\n')
    rig.drop(
        f'name = "loud"\nscript = "{tmp_path}/loud.py"\n'
        'retry = { backoff = "1s..1s", max_failures = 3 }\n'
    )
    try:
        rig.start("--until-idle").wait(120)
        run = rig.home.run("loud-1")
        logs = sorted(path.name for path in run.logs.iterdir())
        assert [one.replace(".times", ".log") for one in logs if ".times" in one] == [
            one for one in logs if ".log" in one
        ]
        logs = [one for one in logs if ".log" in one]
        attempts = len(rig.entries("loud-1", "attempt_ended"))
        assert attempts >= 2
        assert logs == [f"attempt-{n:04d}.log" for n in (attempts - 1, attempts)]
        text = run.log(attempts).read_text()
    finally:
        rig.close()
    assert len(text) <= 2**20
    assert text.startswith("first words\n")
    assert "bytes were cut out here" in text
    assert "False last words" in text[-500:]
