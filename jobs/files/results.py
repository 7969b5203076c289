"""Name finished trainings whose result a relaunch writes to other files than an earlier attempt.

Nothing may tell several trainings of the same content apart: restarts until there are enough
files, a queue of objects. A script that skips the first of them draws their initial
weights for a later one, and gets their result. What it writes next shows that.
"""

import os
import threading
from typing import Final

from rekindle.jobs.attempt.session import Session
from rekindle.jobs.files.appended import is_of_tempfile
from rekindle.jobs.files.moved import short
from rekindle.jobs.stages.stable_text import without_varying
from rekindle.state.run import entries, summary

_MOST: Final = 8
"""Files that are noted after one stage."""


class Results:
    """Note the files that a script writes after each of several equal trainings, and compare them.

    Args:
        session: of the attempt.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._files: dict[int, dict[int, list[str]]] = {}
        for entry in summary.read(session.run).entries:
            if entry["kind"] == "scratch_requested":
                self._files.clear()
            elif entry["kind"] == "stage_begun":  # again after a change of the script
                self._files.pop(entry["stage"], None)
            elif entry["kind"] == "wrote":
                self._add(entry["stage"], entry["attempt"], entry["file"])
        self._unchecked = set(self._files)
        self._is_busy = False

    def opened(self, path: str, flags: int) -> None:
        """Note a file that is about to be opened outside of stages; called by an audit hook.

        Args:
            path: absolute.
            flags: of ``os.open``.
        """
        session = self._session
        if not flags & os.O_ACCMODE or self._is_busy or session.stages.inside:
            return
        stage = session.stages.table.indistinct
        if stage is None or threading.current_thread() is not threading.main_thread():
            return
        name = short(path, session.job.workdir)
        if is_of_tempfile(name, path) or path.startswith(str(session.run.root)):
            return
        name = without_varying(name)
        if str(os.getpid()) not in name and self._add(stage, session.attempt, name):
            self._unchecked.add(stage)
            self._is_busy = True
            try:
                session.note(entries.wrote(stage=stage, file=name))
            finally:
                self._is_busy = False

    def _add(self, stage: int, attempt: int, name: str) -> bool:
        files = self._files.setdefault(stage, {}).setdefault(attempt, [])
        if name in files or len(files) >= _MOST:
            return False
        files.append(name)
        return True

    def check(self) -> None:
        """Compare what was written since the last stage; a killed attempt may have written less."""
        for stage in sorted(self._unchecked):
            first, *others = self._files[stage].values()
            for other in others:
                before, now = ([n for n in a if n not in b] for a, b in _both_ways(first, other))
                if before and now:
                    self._name(stage, before[0], now[0])
                    break
        self._unchecked.clear()

    def _name(self, stage: int, before: str, now: str) -> None:
        self._session.warn(
            f"A training got the result of stage {stage}, which an earlier attempt wrote to "
            f"{before}, and the script wrote {now}: where it skips what it has finished, that is "
            "the result of another training.",
            "Compare the files; call fit in a loop over numbers or names, and start over with "
            "`rekindle retry JOB --from-scratch`.",
        )


def _both_ways(one: list[str], other: list[str]) -> tuple[tuple[list[str], list[str]], ...]:
    return (one, other), (other, one)
