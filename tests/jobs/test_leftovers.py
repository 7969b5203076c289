"""A leftover of an earlier attempt is named where the script fails because of it."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from attempts import Script

from rekindle.jobs.files import leftovers
from rekindle.jobs.files.moved import EARLIER
from rekindle.state.errors import LeftBehind, OutputMoved, RekindleError

LONG_AGO = 1.0


def explained(script: Script, act: Callable[[], object]) -> RekindleError | None:
    """Run a part of a script that fails, and explain its error."""
    with pytest.raises(Exception) as caught:
        act()
    return leftovers.explain(caught.value, script.session, "train.py:7")


class AlreadyExistsError(Exception):
    """As TensorFlow raises it, from C."""


def cache(path: Path) -> None:
    if path.exists():
        raise AlreadyExistsError(
            "Graph execution error:\n\nDetected at node IteratorGetNext:\nThere appears to be a "
            f"concurrent caching iterator running - cache lockfile already exists ('{path}'). If "
            "you are sure no other running TF computations are using this cache prefix, delete "
            "the lockfile and restart the iteration."
        )
    path.write_text("Created at: 1")


def copytree(path: Path) -> None:
    source = path.with_name("source")
    source.mkdir(exist_ok=True)
    shutil.copytree(source, path)


def table(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE trials (id)")


MAKES: dict[str, Callable[[Path], object]] = {
    "mkdir": os.mkdir,
    "makedirs": os.makedirs,
    "mode_x": lambda path: open(path, "x").close(),
    "symlink": lambda path: os.symlink("target", path),
    "copytree": copytree,
    "cache": cache,
    "sqlite": table,
}


@pytest.mark.parametrize("how", MAKES)
def test_what_exists_is_named_with_a_command_that_works(how: str, tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    path = first.work / "it's here"
    MAKES[how](path)
    first.ended()
    later(first)
    again = Script(tmp_path, 2)
    error = explained(again, lambda: MAKES[how](path))
    assert isinstance(error, LeftBehind)
    assert error.what.startswith(
        "The script failed because it's here of an earlier attempt exists, at train.py:7: "
    )
    command = error.hint.split("`")[1]
    assert os.system(command) == 0
    MAKES[how](path)
    assert path.with_name("it's here.attempt-1").exists() or how == "symlink"


def test_a_file_of_this_attempt_or_of_the_first_one_is_no_leftover(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    path = first.work / "out"
    path.mkdir()
    assert explained(first, path.mkdir) is None
    first.ended()
    later(first)
    again = Script(tmp_path, 2)
    mine = first.work / "mine"
    mine.mkdir()
    os.utime(mine, (10**10, 10**10))
    assert explained(again, mine.mkdir) is None
    old = first.work / "old"
    old.mkdir()
    os.utime(old, (LONG_AGO, LONG_AGO))  # from before the job
    assert explained(again, old.mkdir) is None
    assert explained(again, lambda: json.loads("{")) is None


def test_a_half_written_file_is_named(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    path = first.work / "features.json"
    path.write_text('{"a": [1, 2')
    first.ended()
    later(first)
    again = Script(tmp_path, 2)
    again.stage()
    error = explained(again, lambda: json.loads(path.read_text()))
    assert isinstance(error, LeftBehind)
    assert "reading features.json, which was being written" in error.what


def test_a_file_that_an_earlier_attempt_wrote_under_another_date_is_named(tmp_path: Path) -> None:
    again = Script(tmp_path, 2)
    EARLIER.add([str(again.work / "runs" / "20260101" / "best.h5")])
    error = explained(again, (again.work / "runs" / "20260102" / "best.h5").read_bytes)
    assert isinstance(error, OutputMoved)
    assert "did not find runs/20260102/best.h5" in error.what
    assert "an earlier attempt wrote runs/20260101/best.h5" in error.what
    assert "freeze_clock = true" in error.hint
    assert "rekindle release a-1 --new-code" in error.hint
    assert explained(again, (again.work / "elsewhere").read_bytes) is None


def later(script: Script) -> None:
    """Date everything so far into the past, as if the next attempt began some minutes later."""
    script.shift(-600.0)
    for path in script.work.rglob("*"):
        info = path.lstat()
        os.utime(path, (info.st_mtime - 600, info.st_mtime - 600), follow_symlinks=False)
