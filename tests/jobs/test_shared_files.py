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


SEARCHES = """
import ctypes, gc, io, os, sys, tempfile
from rekindle.jobs.files.written import WRITTEN
from rekindle.jobs.files.open_files import OPEN_FILES
os.chdir(sys.argv[1])
count = 0
def hook(event, args):
    global count
    count += event == "gc.get_objects"
sys.addaudithook(hook)
WRITTEN.install()

def searches(flushed=None):
    global count
    count = 0
    OPEN_FILES.flush()
    OPEN_FILES.flush()
    if flushed is not None:
        assert open(flushed).read(), flushed
    return count

names = "journal.jsonl", "heartbeat", "step_record"
ours = [open(name, "w") for name in names]
deleted = tempfile.TemporaryFile("w")
named = tempfile.NamedTemporaryFile("w", dir=".")
os.unlink(named.name)
native = os.O_CREAT | os.O_WRONLY
assert ctypes.CDLL(None).open(b"events.out.tfevents.1", native, 0o600) > 0
print("of no script:", searches())
log = open("log.txt", "w")
log.write("a")
print("a log:", searches("log.txt"))
log.write("b")
ours.append(open("keeper.log", "w"))
print("one more of ours:", searches())
log.close()
print("closed:", searches())
log = open("log.txt", "a")
log.write("c")
first = log.fileno()
print("opened:", searches())
log.close()
log = open("log.txt", "a")
log.write("d")
assert log.fileno() == first
print("opened again as the same descriptor:", searches())
assert open("log.txt").read() == "abcd"
log.write("e")
log = None
assert open("log.txt").read() == "abcde"
print("dropped:", searches())
text = open("text.txt", "w")
searches()
rest = text.detach()
rest.write(b"f")
print("detached:", searches("text.txt"))
events = open("events.out.tfevents.2", "w")
events.write("g")
print("events of a Python writer:", searches(events.name))
os._exit(0)
"""


def test_only_another_file_of_the_script_causes_a_search_through_all_objects(
    tmp_path: Path,
) -> None:
    argv = [sys.executable, "-uc", SEARCHES, str(tmp_path)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "of no script: 0",
        "a log: 1",
        "one more of ours: 0",
        "closed: 0",
        "opened: 1",
        "opened again as the same descriptor: 1",
        "dropped: 0",
        "detached: 1",
        "events of a Python writer: 1",
    ]
