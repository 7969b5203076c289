"""Output paths that differ between attempts: files follow them, and both names are said."""

import os
import tempfile
from pathlib import Path

import pytest
from attempts import Script

from rekindle.jobs.files.moved import Earlier, Move, OutputPaths, masked
from rekindle.jobs.files.stage_files import StageFiles
from rekindle.state.run.checkpoints import Position


class Callback:
    """A callback with a path, as ModelCheckpoint."""

    def __init__(self, filepath: str) -> None:
        self.filepath = filepath
        self.monitor = "val_loss"


@pytest.mark.parametrize(
    ("old", "new", "path", "wanted"),
    [
        ("/r/A1/best.h5", "/r/B2/best.h5", "/r/A1/best.h5", "/r/B2/best.h5"),
        ("/r/A1/x/best.h5", "/r/B2/x/best.h5", "/r/A1/log.csv", "/r/B2/log.csv"),
        ("/r/A1/{epoch}.h5", "/r/B2/{epoch}.h5", "/r/A1/03.h5", "/r/B2/03.h5"),
        ("/r/A1/best.h5", "/r/B2/best.h5", "/r/A11/best.h5", None),
        ("/r/A1/best.h5", "/r/B2/best.h5", "/r/A1", "/r/B2"),
        ("/r/best-1.h5", "/r/best-2.h5", "/r/best-1.h5", "/r/best-2.h5"),
        ("/r/w-10-{epoch}.h5", "/r/w-20-{epoch}.h5", "/r/w-10-3.h5", "/r/w-20-3.h5"),
        ("/r/w-10-{epoch}.h5", "/r/w-20-{epoch}.h5", "/r/other", None),
        ("/r/logs/10", "/r/logs/20", "/r/logs/10/events", "/r/logs/20/events"),
    ],
)
def test_files_follow_the_path_that_the_script_chose(
    old: str, new: str, path: str, wanted: str | None
) -> None:
    assert Move("ModelCheckpoint", "filepath", old, new).target(path) == wanted


def test_names_that_differ_by_the_clock_are_recognised() -> None:
    assert masked("runs/20261126-0915") == masked("runs/20270101-1200")
    assert masked("Nov26_09-15-01_host") == masked("December1_12-00-59_host")
    assert masked("runs/a") != masked("runs/b")
    earlier = Earlier()
    earlier.add(["/w/runs/1/best.h5", "/w/runs/2/best.h5", "/w/other.txt"])
    assert earlier.of("/w/runs/3/best.h5") == "/w/runs/2/best.h5"
    assert earlier.of("/w/elsewhere.txt") is None


def test_names_of_tempfile_differ_in_each_attempt_and_are_no_news() -> None:
    folder = tempfile.gettempdir()
    assert Move(
        "TensorBoard", "log_dir", f"{folder}/tmpa1/logs", f"{folder}/tmpb2/logs"
    ).is_temporary
    assert not Move("TensorBoard", "log_dir", f"{folder}/tmpa1/logs", "/r/logs").is_temporary


def test_a_checkpoint_of_an_older_version_has_no_paths() -> None:
    now = OutputPaths([Callback("r/2/a.h5")])
    assert now.moves({}) == now.moves({"paths": [["Other", {}]]}) == []
    assert now.moves({"paths": [3]}) == []
    (move,) = now.moves({"paths": OutputPaths([Callback("r/1/a.h5")]).as_json()})
    assert move.is_dated
    assert str(move) == "Callback.filepath was r/1/a.h5 and is r/2/a.h5"


def test_files_of_the_earlier_folder_are_put_into_the_new_one(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    files = first.stage()
    os.makedirs(first.work / "runs" / "20260101")
    best = first.work / "runs" / "20260101" / "best.bin"
    best.write_bytes(b"best")
    saved = first.save(files, Position(0, 1, 5))
    first.ended()

    again = Script(tmp_path, 2)
    now = again.work / "runs" / "20260102" / "best.bin"
    again.session.stages.enter(lambda: None)
    saved["paths"] = OutputPaths([Callback(str(best))]).as_json()
    files = StageFiles(again.session, 0, paths=OutputPaths([Callback(str(now))]))
    files.put_back(saved, ended=False)
    assert now.read_bytes() == best.read_bytes() == b"best"
    assert [r["path"] for r in files.capture({})["files"]] == ["runs/20260102/best.bin"]
    (message,) = again.said()
    assert "named by the clock: Callback.filepath was" in message
