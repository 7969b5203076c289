"""The result of a finished training that a relaunch writes to another file is named."""

import os
from pathlib import Path

from attempts import Script

from rekindle.jobs.files.results import Results
from rekindle.jobs.stages.decision import Call
from rekindle.jobs.stages.key import DataKey, Entry, StageKey, Way

WRITES = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Attempt:
    """One attempt of a script that trains, and writes files after each training."""

    def __init__(self, root: Path, number: int, *, repeats: bool = True) -> None:
        self.script = Script(root, number)
        self._repeats = repeats
        self._results = Results(self.script.session)

    def trains(self, weights: str, *files: str) -> int:
        self._results.check()
        call = Call(
            StageKey("fit", "dense", "adam", {}, DataKey("d")),
            Entry(weights, "r"),
            Way(("train.py:9 <module>",), known=True, repeats=self._repeats),
        )
        stages = self.script.session.stages
        number = stages.enter(lambda: call)
        self._results.opened(str(self.script.work / "in the training"), WRITES)
        self.script.session.stage_ended(number, 1)
        stages.leave()
        for file in files:
            self._results.opened(str(self.script.work / file), WRITES)
        self._results.opened(str(self.script.work / f"read {number} {weights}"), os.O_RDONLY)
        return number

    def ends(self) -> list[str]:
        self._results.check()
        self.script.ended()
        return self.script.said()


def test_a_result_that_is_written_to_another_file_is_named(tmp_path: Path) -> None:
    """A queue of names: the relaunch skips ``a``, and draws its weights for ``b``."""
    first = Attempt(tmp_path, 1)
    first.trains("w0", "a.npz", "log.csv")
    assert [] == first.ends()
    second = Attempt(tmp_path, 2)
    assert 0 == second.trains("w0", "b.npz", "log.csv")
    (message,) = second.ends()
    assert "wrote to a.npz, and the script wrote b.npz" in message


def test_a_kill_after_the_first_file_leaves_it_to_the_next_attempt(tmp_path: Path) -> None:
    Attempt(tmp_path, 1).trains("w0", "a.npz")
    Attempt(tmp_path, 2).trains("w0", "b.npz")
    assert 1 == len(Attempt(tmp_path, 3).ends())


def test_files_of_a_relaunch_that_calls_all_again_are_no_difference(tmp_path: Path) -> None:
    """An attempt that was killed may have written less."""
    first = Attempt(tmp_path, 1)
    first.trains("w0", "a.npz", "a-2026-11-26.csv")
    first.trains("w1", "b.npz")
    for number in (2, 3):
        again = Attempt(tmp_path, number)
        assert [0, 1] == [
            again.trains("w0", "a.npz", "a-2026-11-27.csv"),
            again.trains("w1", "b.npz", "c.npz"),
        ]
        assert [] == again.ends()


def test_files_after_a_training_that_its_place_tells_from_others_do_not_count(
    tmp_path: Path,
) -> None:
    for number, file in ((1, "a.npz"), (2, "b.npz")):
        attempt = Attempt(tmp_path, number, repeats=False)
        attempt.trains("w0", file)
        assert [] == attempt.ends()
        assert "wrote" not in attempt.script.run.journal.read_text().replace("written", "")
