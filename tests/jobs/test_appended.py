"""A file that a script appends to in one attempt after another is named."""

import os
import tempfile
from pathlib import Path

import pytest
from attempts import Script

from rekindle.jobs.files.appended import Appended
from rekindle.jobs.files.written import WRITTEN

APPENDS = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def later(script: Script) -> tuple[Script, Appended]:
    script.ended()
    second = Script(script.work.parent, 2)
    return second, Appended(second.session)


def test_a_file_that_an_earlier_attempt_appended_to_is_named(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    file = first.work / "results.csv"
    appended = Appended(first.session)
    for row in ("1\n", "2\n"):
        appended.opened(str(file), APPENDS)
        with file.open("a") as stream:
            stream.write(row)
    assert first.said() == []
    second, appended = later(first)
    appended.opened(str(file), APPENDS)
    appended.opened(str(file), APPENDS)
    (message,) = second.said()
    assert "appends to results.csv once more" in message


def test_a_file_that_is_read_or_emptied_first_is_not(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    appended = Appended(first.session)
    names = [str(first.work / name) for name in ("read.csv", "emptied.csv")]
    for name in names:
        appended.opened(name, APPENDS)
        Path(name).write_text("1\n")
    second, appended = later(first)
    for name, flags in zip(names, (os.O_RDONLY, os.O_WRONLY | os.O_TRUNC), strict=True):
        appended.opened(name, flags)
        appended.opened(name, APPENDS)
    assert second.said() == []


def test_a_look_for_the_folder_of_temporary_files_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tempfile`` opens a file while it holds its lock."""
    first = Script(tmp_path, 1)
    monkeypatch.setattr(WRITTEN, "_outside", [Appended(first.session).opened])
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir()
