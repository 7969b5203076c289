"""Files of a stage are kept with its checkpoints, and put back where they are another by then."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attempts import Script

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files import targets
from rekindle.state.run import checkpoints, journal
from rekindle.state.run.checkpoints import Position
from rekindle.state.run.training_state import TrainingState


def test_the_best_file_of_a_finished_stage_is_put_back(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)
    best = script.work / "best.bin"
    first = script.stage()
    best.write_bytes(b"first")
    ended = script.save(first, Position(0, 1, 5, end=True))
    second = script.stage()
    assert second.capture({})["files"] == []  # not written in this stage yet
    best.write_bytes(b"second")
    middle = script.save(second, Position(1, 1, 9))
    best.write_bytes(b"third")

    again = Script(tmp_path, 2)
    again.stage().put_back(ended, ended=True)
    assert best.read_bytes() == b"first"
    again.session.leave_stage()
    files = again.stage()
    files.put_back(middle, ended=False)
    assert best.read_bytes() == b"second"
    # not written since: the next checkpoint has it all the same
    assert [r["sha256"] for r in files.capture({})["files"]] == [middle["files"][0]["sha256"]]
    kinds = [e for e in journal.replay(again.run.journal).entries if e["kind"] == "files_put_back"]
    assert [entry["names"] for entry in kinds] == [["best.bin"], ["best.bin"]]
    assert not again.said()


def test_only_files_of_the_stage_are_recorded(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)
    (script.work / "before.txt").write_text("before the stage")
    files = script.stage()
    (script.work / "before.txt").read_text()
    (script.run.root / "heartbeat").write_text("ours")
    with (script.work / "log.txt").open("a") as log:
        log.write("0\n")
    (script.work / "made").write_text("x")
    os.replace(script.work / "made", script.work / "renamed")
    (script.work / "removed").write_text("x")
    (script.work / "removed").unlink()
    (script.work / "__autograph_generated_file0a1b.py").write_text("by TensorFlow")
    found = {r["path"] for r in files.capture({})["files"]}
    assert found == {"log.txt", "renamed"}


def test_a_file_that_another_program_changed_is_left_and_named(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)
    shared = script.work / "shared.txt"
    files = script.stage()
    shared.write_text("ours\n")
    saved = script.save(files, Position(0, 1, 5))
    script.ended()
    shared.write_text("ours\nanother's\n")
    os.utime(shared, (10**9, 10**9))

    again = Script(tmp_path, 2)
    again.stage().put_back(saved, ended=False)
    assert shared.read_text() == "ours\nanother's\n"
    (message,) = again.said()
    assert "shared.txt, a file of stage 0, was changed while no attempt of this job ran" in message


def test_copies_stay_below_the_limit_and_what_is_above_is_named(tmp_path: Path) -> None:
    script = Script(tmp_path, 1, limit=100)
    large, small = script.work / "large", script.work / "small"
    files = script.stage()
    large.write_bytes(b"l" * 90)
    small.write_bytes(b"s" * 20)
    saved = script.save(files, Position(0, 1, 5, end=True))
    assert {r["path"]: r["kept"] for r in saved["files"]} == {"small": True, "large": False}
    files = script.stage()
    (script.work / "other").write_bytes(b"o" * 85)  # 20 of 100 are those of the end of stage 0
    assert [r["kept"] for r in script.save(files, Position(1, 1, 9))["files"]] == [False]
    large.write_bytes(b"another")
    small.unlink()

    again = Script(tmp_path, 2, limit=100)
    again.stage().put_back(saved, ended=True)
    assert small.read_bytes() == b"s" * 20
    (message,) = again.said()
    assert message.startswith("large, a file of stage 0, is another file now")


def test_copies_go_with_the_checkpoints_that_need_them(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)
    files = script.stage()
    for number in range(6):
        (script.work / "best").write_bytes(b"%d" % number)
        script.save(files, Position(0, number, number * 5))
    assert len(checkpoints.scan(script.run.checkpoints)) == 3
    assert len(os.listdir(script.run.kept_files)) == 3
    manifest = checkpoints.scan(script.run.checkpoints)[0].read_manifest()
    assert list(manifest["kept"].values()) == [1]


def test_a_write_in_c_is_found_from_the_callbacks(tmp_path: Path) -> None:
    class Callback:
        def __init__(self) -> None:
            self.filepath = str(tmp_path / "model-{epoch:02d}.h5")
            self.log = tmp_path / "log.txt"
            self.text = "not a path"
            self.old = str(tmp_path / "old.txt")

    for name in ("model-01.h5", "log.txt", "old.txt"):
        (tmp_path / name).write_text("x")
    os.utime(tmp_path / "old.txt", (10**9, 10**9))
    found = targets.of([Callback()], begun_at=(tmp_path / "log.txt").stat().st_mtime)
    assert sorted(map(os.path.basename, found())) == ["log.txt", "model-01.h5"]


def test_an_unreadable_record_is_passed_over(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)
    state: TrainingState = {"files": [json.loads('{"path": 3}'), json.loads("[]")]}
    script.stage().put_back(state, ended=True)
    assert not script.said()


@pytest.fixture(autouse=True)
def _clean() -> None:
    Session.drop()


def test_folders_of_the_run_are_not_taken_for_those_of_the_script(tmp_path: Path) -> None:
    """Those of its own saves would displace what the script has made: only the newest are kept."""
    script = Script(tmp_path, 1)
    made = script.work / "results_2024-01-02"
    made.mkdir()
    for number in range(3):
        state = script.save(script.stage(), Position(number, 1, number + 1, end=True))
    assert str(made) in state["folders"]
    assert [] == [one for one in state["folders"] if one.startswith(str(script.run.root))]


@pytest.mark.parametrize("mode", ["w", "a", "w+b", "fd"])
def test_a_file_opened_before_the_stage_is_restored_below_its_handle(
    tmp_path: Path, mode: str
) -> None:
    """After the restore the script writes behind what the checkpoint had."""
    script = Script(tmp_path, 1)
    path = script.work / "train.log"
    open_log = {
        "w": lambda: open(path, "w", encoding="utf-8"),
        "a": lambda: open(path, "a", encoding="utf-8"),
        "w+b": lambda: open(path, "w+b"),
        "fd": lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC),
    }[mode]

    def write(log: Any, text: str) -> None:
        if isinstance(log, int):
            os.write(log, text.encode())
        else:
            log.write(text if isinstance(log, io.TextIOWrapper) else text.encode())

    log = open_log()
    write(log, "begin\n")
    files = script.stage()
    write(log, "epoch 0\n")
    kept = script.save(files, Position(0, 1, 5))
    write(log, "epoch 1, of which nothing is kept\n")
    os.close(log) if isinstance(log, int) else log.close()
    expected = "begin\nepoch 0\nepoch 1\n"

    again = Script(tmp_path, 2)
    log = open_log()
    write(log, "begin\n")
    files = again.stage()
    files.put_back(kept, ended=False)
    write(log, "epoch 1\n")
    files.capture({})
    if mode == "fd":
        # nothing of Python holds it, so that it is named and left
        found = [c.what for c in files.caveats()]
        assert len(found) == 1 and "writes to train.log, which a library opened" in found[0]
    else:
        assert path.read_text() == expected and not files.caveats()
    os.close(log) if isinstance(log, int) else log.close()


def test_an_array_in_a_mapped_file_is_restored_in_the_mapping(tmp_path: Path) -> None:
    script = Script(tmp_path, 1)

    def opened() -> Any:
        return np.lib.format.open_memmap(
            script.work / "seen.npy", mode="w+", dtype="float32", shape=(3, 4)
        )

    rows = opened()
    files = script.stage()
    rows[0] = 1
    kept = script.save(files, Position(0, 1, 5))
    rows[1] = 2
    del rows
    again = Script(tmp_path, 2)
    rows = opened()
    again.stage().put_back(kept, ended=False)
    assert rows.tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4]


@pytest.mark.parametrize("mode", ["w", "a", "r+", "wb", "closed"])
def test_a_file_that_a_callback_opens_when_it_begins_is_restored_below_its_handle(
    tmp_path: Path, mode: str
) -> None:
    """An ``on_train_begin`` empties it once more, and writes a header."""
    first = Script(tmp_path, 1)
    log = first.work / "log.txt"
    files = first.stage()
    log.write_text("header\n")
    handle = log.open("ab")
    handle.write(b"1\n2\n")
    saved = first.save(files, Position(0, 0, 2))
    handle.write(b"3\n")
    handle.close()

    again = Script(tmp_path, 2)
    files = again.stage()
    files.begin()
    files.put_back(saved, ended=False)
    assert log.read_bytes() == b"header\n1\n2\n"
    out: Any = log.open("w" if mode == "closed" else mode)
    out.write(b"HEADER\n" if mode == "wb" else "HEADER\n")
    if mode == "closed":
        out.close()
    files.restore(saved, {}, lenient=False)
    if mode == "closed":
        out = log.open("a")
    out.write(b"3\n" if mode == "wb" else "3\n")
    out.close()
    assert log.read_bytes() == b"header\n1\n2\n3\n"
    assert not again.said()


def test_a_file_that_a_library_opens_when_it_begins_is_named(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    data = first.work / "data.bin"
    files = first.stage()
    data.write_bytes(b"rows")
    saved = first.save(files, Position(0, 0, 2))

    again = Script(tmp_path, 2)
    files = again.stage()
    files.begin()
    files.put_back(saved, ended=False)
    fd = os.open(data, os.O_RDWR | os.O_TRUNC)  # no object of Python has it
    try:
        files.restore(saved, {}, lenient=False)
    finally:
        os.close(fd)
    (said,) = again.said()
    assert "data.bin, a file of stage 0, is held open by a library" in said


def test_nothing_of_a_finished_stage_is_restored_twice(tmp_path: Path) -> None:
    first = Script(tmp_path, 1)
    log = first.work / "log.txt"
    files = first.stage()
    log.write_text("all\n")
    saved = first.save(files, Position(0, 1, 2, end=True))
    again = Script(tmp_path, 2)
    files = again.stage()
    files.put_back(saved, ended=True)
    log.write_text("the script's own\n")
    files.restore(saved, {}, lenient=False)
    assert log.read_text() == "the script's own\n"


def test_what_was_named_before_the_callbacks_is_not_named_once_more(tmp_path: Path) -> None:
    first = Script(tmp_path, 1, limit=2)
    log = first.work / "log.txt"
    files = first.stage()
    log.write_text("above the limit\n")
    saved = first.save(files, Position(0, 0, 2))
    log.write_text("another file\n")
    again = Script(tmp_path, 2, limit=2)
    files = again.stage()
    files.put_back(saved, ended=False)
    files.restore(saved, {}, lenient=False)
    files.restore(saved, {}, lenient=False)
    assert len(again.said()) == 1
    assert len(vars(again.session)["_changed"]) == 1
