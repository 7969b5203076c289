"""Test with a job itself that its result after kills is bit-identical.

The job is trained once undisturbed and once with kills, and the results are compared bit by bit.
If they differ, it is trained undisturbed once more, to distinguish a nondeterministic script from
one that does not resume exactly.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rekindle.daemon.verify_resume import comparison, nondeterminism_scan, overlap, trial, workcopy
from rekindle.daemon.verify_resume.comparison import Difference
from rekindle.daemon.verify_resume.nondeterminism_scan import Suspect
from rekindle.daemon.verify_resume.overlap import Overlap
from rekindle.daemon.verify_resume.trial import Training, Trial
from rekindle.jobs.job import CheckpointPolicy, Job
from rekindle.state.counted import counted
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home
from rekindle.state.run import entries
from rekindle.state.run.checkpoints import Position

# share of the limit for the first training: there may be two more, and restarts
_SHARE: Final = 0.22
_SAVES: Final = 25
_MEANWHILE_S: Final = 5.0


class Verdict(enum.StrEnum):
    """The result of a verification."""

    IDENTICAL = "identical"
    SCRIPT_DIFFERS = "script differs"
    RESUME_DIFFERS = "resume differs"
    RESUME_FAILED = "resume failed"
    NOT_PROVEN = "not proven"


@dataclass(frozen=True, slots=True)
class Question:
    """The parameters of a verification.

    Attributes:
        job: the user's job, with absolute paths.
        kills: the number of kills.
        seed: the seed of the points of the kills.
        limit: the time to spend in seconds, roughly; None for the whole job.
        link: paths in the job's folder that are linked instead of copied.
    """

    job: Job
    kills: int
    seed: int
    limit: float | None
    link: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a verification, and its trainings.

    Attributes:
        undisturbed, killed: the two trainings; ``again`` is a second undisturbed one.
        differences: between the killed and the undisturbed training; for a script that is
            not deterministic, between the two undisturbed ones.
        noted: differences that undisturbed trainings also have, outside of the model.
        suspects: places in the code that may be the cause.
        arrays, epochs: the numbers of compared arrays and epochs.
        overlap: a part of the training that was trained twice, where the kills prove nothing
            or show a difference.
    """

    verdict: Verdict
    undisturbed: Training
    killed: Training
    again: Training | None = None
    differences: tuple[Difference, ...] = ()
    noted: tuple[Difference, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    arrays: int = 0
    epochs: int = 0
    overlap: Overlap | None = None

    @property
    def inexact(self) -> list[str]:
        """List the caveats of the receipts and the warnings of the journal."""
        said = [text for receipt in self.killed.receipts for text in receipt.get("inexact", [])]
        said += [f"{e['message']} {e['hint']}" for e in self.killed.entries(entries.warned)]
        return list(dict.fromkeys(said))


def find(question: Question, home: Home, report: Callable[[str], None]) -> Answer:
    """Train in ``home``, an empty folder, and compare the results.

    Args:
        report: called with a sentence at each step of the verification.

    Raises:
        ScriptFailed: the script fails without a kill.
        UsageError: the script trains nothing, or its folder is too large to copy.
    """
    return _Verification(question, home, report).run()


class _Verification:
    def __init__(self, question: Question, home: Home, report: Callable[[str], None]) -> None:
        self._question = question
        self._home = home
        self._report = report
        self._before: dict[str, str] = {}

    def run(self) -> Answer:
        question = self._question
        undisturbed = self._first()
        until, steps = undisturbed.end, undisturbed.steps
        each = max(1, steps // _SAVES)
        kills = trial.plan(question.kills, steps, question.seed)
        self._report(
            f"training with {counted(question.kills, 'kill')} and a checkpoint every "
            f"{counted(each, 'step')}, for about "
            f"{_about(undisturbed, question.kills)}"
        )
        killed = self._train("killed", until, lambda it: it.killed(kills), every_steps=each)
        for hit in killed.hits:
            self._report(f"  {hit}")
        answer = self._judge(undisturbed, killed)
        if killed.failure:
            return answer
        if answer.verdict in (Verdict.RESUME_DIFFERS, Verdict.NOT_PROVEN):
            answer = replace(answer, overlap=self._overlap(undisturbed))
        arrays, epochs = comparison.counted(killed)
        return replace(answer, arrays=arrays, epochs=epochs)

    def _first(self) -> Training:
        question = self._question
        enough = None if question.limit is None else question.limit * _SHARE
        self._report(
            "training undisturbed"
            + ("" if enough is None else f", for at most about {enough:.0f} s of steps")
        )
        meanwhile = _MEANWHILE_S if enough is None else max(enough / 6, 0.5)
        training = self._train(
            "undisturbed", None, lambda it: it.undisturbed(enough=enough), every_seconds=meanwhile
        )
        if not training.steps:
            raise UsageError(
                "The script ended without training a step.",
                where=question.job.script or question.job.module,
                hint="Verify a script that calls `model.fit` or a loop of rekindle.jobs.",
            )
        return training

    def _judge(self, undisturbed: Training, killed: Training) -> Answer:
        if killed.failure:
            # other data or another model in each attempt has the same causes as other results
            differs = killed.failure.get("error_type") == "StateMismatch"
            suspected = self._suspects() if differs else ()
            return Answer(Verdict.RESUME_FAILED, undisturbed, killed, suspects=suspected)
        found = comparison.compare(undisturbed, killed, self._before)
        if not found:
            proven = bool(killed.resumed)
            return Answer(Verdict.IDENTICAL if proven else Verdict.NOT_PROVEN, undisturbed, killed)
        self._report(
            "the results differ; training undisturbed again, to see if the script is deterministic"
        )
        again = self._train(
            "again", undisturbed.end, lambda it: it.undisturbed(), every_steps=10**12
        )
        own = comparison.compare(undisturbed, again, self._before)
        return self._separate(undisturbed, killed, again, found, own)

    def _overlap(self, undisturbed: Training) -> Overlap | None:
        """Resume once over an epoch's start, and compare the whole state a few steps later."""
        chosen = overlap.Range.of(undisturbed)
        if chosen is None:
            return None
        self._report("training the beginning, and a part of it once more from a checkpoint")
        training = self._train(
            "overlap",
            chosen.until,
            lambda it: it.overlapped(chosen.before),
            every_steps=chosen.every,
        )
        return Overlap.of(training)

    def _separate(
        self,
        undisturbed: Training,
        killed: Training,
        again: Training,
        found: list[Difference],
        own: list[Difference],
    ) -> Answer:
        """Separate the script's own differences, which say nothing about the resume."""
        known = {difference.key for difference in own}
        noted = tuple(difference for difference in found if difference.key in known)
        remaining = tuple(difference for difference in found if difference.key not in known)
        suspected = self._suspects()
        if any(difference.kind in ("variable", "epoch") for difference in own):
            return Answer(
                Verdict.SCRIPT_DIFFERS, undisturbed, killed, again, tuple(own), (), suspected
            )
        if remaining:
            return Answer(
                Verdict.RESUME_DIFFERS, undisturbed, killed, again, remaining, noted, suspected
            )
        # only files or callbacks differ, e.g. by a time noted in them; the model is equal
        proven = bool(killed.resumed)
        return Answer(
            Verdict.IDENTICAL if proven else Verdict.NOT_PROVEN,
            undisturbed,
            killed,
            again,
            (),
            noted,
            suspected,
        )

    def _suspects(self) -> tuple[Suspect, ...]:
        job = self._question.job
        script = (
            Path(job.script)
            if job.script
            else Path(job.workdir, *(job.module or "").split(".")).with_suffix(".py")
        )
        return tuple(
            nondeterminism_scan.of_script(script, gpus=job.resources.gpus or 0, env=job.env)
        )

    def _train(
        self, name: str, until: Position | None, go: Callable[[Trial], Training], **saves: Any
    ) -> Training:
        """Train in a fresh copy of the job's folder."""
        job = self._question.job
        source = Path(job.workdir).resolve()
        # other paths would be a difference: some scripts print or save them
        work = self._home.root / "work"
        workcopy.make(source, work, link=self._question.link)
        self._before = comparison.files(work)
        script = job.script
        if script is not None and Path(script).resolve().is_relative_to(source):
            script = str(work / Path(script).resolve().relative_to(source))
        policy = CheckpointPolicy(monitor=job.checkpoint.monitor, mode=job.checkpoint.mode, **saves)
        training = go(
            Trial(
                self._home,
                job.replace(id=name, workdir=str(work), script=script),
                policy=policy,
                until=until,
            )
        )
        return replace(training, workdir=work.rename(self._home.root / f"work-{name}"))


def _about(training: Training, kills: int) -> str:
    seconds = training.seconds * 1.2 + kills * (training.start_seconds + 1)
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
