"""Files that two jobs append to, and files that the script holds open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from attempts import Script
from rig import environment

from rekindle.jobs.files.csv_rows import Cut, cut, is_log
from rekindle.state.run import entries
from rekindle.state.run.checkpoints import Position

HEAD = "epoch,accuracy,loss\n"
OURS = [f"{n},0.{n}5,{1 / (n + 3)}\n" for n in range(5)]
THEIRS = [f"{n},0.{n}1,{1 / (n + 7)}\n" for n in range(5)]
KNOWN = [
    {"epoch": n, "logs": {"accuracy": float(f"0.{n}5"), "loss": 1 / (n + 3), "lr": 0.1}}
    for n in range(3)
]


@pytest.mark.parametrize(
    ("after", "left", "wanted"),
    [
        (OURS[2:3], [], Cut()),
        ([OURS[2], *THEIRS[:3]], THEIRS[:3], Cut(3, 0)),
        ([*THEIRS[:2], OURS[2]], THEIRS[:2], Cut(2, 0)),
        (OURS[2:4], [], Cut()),  # killed before the entry of epoch 3
        ([OURS[2], "3,0.3"], [], Cut()),  # killed within the row
        ([OURS[2], *THEIRS[:1], OURS[3]], [THEIRS[0], OURS[3]], Cut(2, 1)),
    ],
)
def test_only_this_jobs_own_rows_are_cut(
    after: list[str], left: list[str], wanted: Cut, tmp_path: Path
) -> None:
    file = tmp_path / "all.csv"
    begun = "".join([HEAD, *OURS[:2]])
    file.write_text("".join([begun, *after]))
    assert is_log(file)
    assert cut(file, len(begun), KNOWN) == wanted
    assert file.read_text() == "".join([begun, *left])


def test_a_log_that_was_empty_at_the_checkpoint_is_empty_again(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("".join([HEAD, *OURS[:3]]))
    assert cut(file, 0, KNOWN) == Cut()
    assert file.read_text() == ""
    file.write_text("".join([HEAD, *OURS[:3], *THEIRS[:2]]))
    assert cut(file, 0, KNOWN) == Cut(2, 0)
    assert file.read_text() == "".join([HEAD, *THEIRS[:2]])


def test_rows_of_another_job_stay_when_a_stage_is_resumed(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    log = first.work / "all.csv"
    files = first.stage()
    log.write_text("".join([HEAD, *OURS[:2]]))
    saved = first.save(files, Position(0, 2, 10))
    for known in KNOWN:
        first.session.note(entries.epoch_ended(stage=0, step=5, seconds=0.1, **known))
    log.write_text("".join([HEAD, *OURS[:3], *THEIRS[:3]]))
    first.ended()
    os.utime(log, (10**9, 10**9))  # the other job wrote while this one waited

    again = Script(tmp_path, 2)
    again.stage().put_back(saved, ended=False)
    assert log.read_text() == "".join([HEAD, *OURS[:2], *THEIRS[:3]])
    assert again.said() == []


HELD = """
import os, sys
from rekindle.jobs.files.open_files import OpenFiles
os.chdir(sys.argv[1])
held = [open("text.txt", "a"), open("binary.bin", "wb")]
held[0].write("a line\\n"), held[1].write(b"bytes")
reader, writer = os.pipe()
pipe = os.fdopen(writer, "w")
pipe.write("not flushed: it could block")
files = OpenFiles()
files.flush()
held[0].write("another\\n")
files.flush()
os._exit(0)
"""


def test_what_the_script_has_written_is_not_left_in_buffers(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HELD, str(tmp_path)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "text.txt").read_text() == "a line\nanother\n"
    assert (tmp_path / "binary.bin").read_bytes() == b"bytes"
