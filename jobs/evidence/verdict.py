"""Report what the repeated steps of a stage have proved: journal, log, and a hold."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from rekindle.jobs.evidence.comparison import Comparison, Gaps
from rekindle.jobs.journal_writer import log_line
from rekindle.state.run import entries, proof
from rekindle.state.run.checkpoints import Position
from rekindle.state.run.entries import Entry

_WORDS: Final = {
    "data": ("data", "generator", "shuffle", "iterable", "order", "cache"),
    "seeds": ("random", "generator", "seed"),
    "optimizer": ("optimizer", "variable", "learning rate"),
    "model": ("variable", "layer", "op "),
    "metrics": ("metric", "variable"),
}
"""Words of a caveat that speak for it as the cause of a difference in a group."""


_UNSEEN: Final = (
    "they have no logs, and no variables that are digested; call `loop.log(...)` in each step"
)


class Log(Protocol):
    """Write journal entries and warnings of an attempt."""

    def note(self, entry: Entry) -> None:
        """Append a journal entry."""
        ...

    def warn(self, message: str, hint: str) -> None:
        """Report a warning once, in journal and log."""
        ...


class Verdict:
    """Report results of one stage.

    Args:
        job: the job's id, for hints.
        differed_in: the first attempt of the run whose repeated steps differ.
        changes: changes from the previous attempt, as text.
        hold: hold the job at a difference.
    """

    def __init__(
        self,
        log: Log,
        job: str,
        attempt: int,
        stage: int,
        differed_in: int | None,
        changes: Iterable[str],
        hold: bool,
    ) -> None:
        self._log = log
        self._job = job
        self._attempt = attempt
        self._stage = stage
        self._differed_in = differed_in
        self._hold = hold
        self._changes = changes
        self._caveats: Callable[[], Iterable[str]] = tuple
        self._gaps: Gaps = tuple
        self._checkpoint: str | None = None
        self._of = 0
        self._written: Entry = {}

    def resumed(
        self, checkpoint: str | None, caveats: Callable[[], Iterable[str]], gaps: Gaps
    ) -> None:
        """Set the checkpoint, and what returns the caveats of the stage and what it lacks."""
        self._checkpoint = checkpoint
        self._caveats = caveats
        self._gaps = gaps

    def expect(self, of: int) -> None:
        """Set how many steps are repeated."""
        self._of = of

    def nothing_repeated(self) -> None:
        """Report that there is nothing to compare."""
        self._write(proof.NOTHING_REPEATED, Comparison(0, 0))

    def no_record(self, repeated: int, why: str) -> None:
        """Report that steps are repeated which cannot be compared, and why."""
        self._of = repeated
        self._write(proof.NO_RECORD, Comparison(0, 0), why=why)

    def report(self, found: Comparison) -> None:
        """Report what was compared until now; nothing if that was reported."""
        if found.difference is None:
            if found.steps:
                self._write(proof.IDENTICAL, found)
            elif found.unseen:
                self._write(proof.NO_RECORD, found, why=_UNSEEN)
            return
        if self._differed_in is None:
            self._differed_in = self._attempt
        cause = self._nearest(found.difference.group)
        self._write(proof.DIFFERENT, found, cause=cause)
        what = proof.words(self._written)
        self._log.warn(
            f"A repeated step is not identical to the earlier one: {what}.",
            f"Known cause: {cause}"
            if cause
            else "The cause is not known. `rekindle verify-resume` with the spec or script looks "
            "for it.",
        )

    def _write(
        self, result: str, found: Comparison, *, cause: str | None = None, why: str | None = None
    ) -> None:
        difference = found.difference
        entry = entries.proved(
            stage=self._stage,
            checkpoint=self._checkpoint,
            result=result,
            steps=found.steps,
            of=self._of,
            epoch_start=found.epoch_start,
            epoch_end=found.epoch_end,
            digests=found.digests,
            differs=None if difference is None else difference.as_json(),
            cause=cause,
            why=why,
            differed_in=self._differed_in,
            state=[text for _, text in self._gaps()],
        )
        if entry == self._written:
            return
        self._written = entry
        self._log.note(entry)
        if difference is None:
            log_line(f"attempt {self._attempt}, proof: {proof.words(entry)}.")

    def _nearest(self, group: str | None) -> str | None:
        causes = [*self._caveats(), *self._changes]
        wanted = _WORDS.get(group or "", ())
        return max(
            causes, key=lambda text: sum(word in text.lower() for word in wanted), default=None
        )

    # holding

    def must_hold(self) -> bool:
        """Return whether this attempt may not save again: it differs, and that is held."""
        return self._hold and (
            self._written.get("result") == proof.DIFFERENT or any(True for _ in self._gaps())
        )

    def hold(self, epoch: int, step: int, newer: Position | None) -> None:
        """Journal the failure for which the daemon holds the job.

        Args:
            newer: the checkpoint that was passed over.
        """
        if self._written.get("result") == proof.DIFFERENT:
            what = proof.words(self._written)
            message = f"A repeated step is not identical to the earlier one: {what}."
        else:
            what = proof.not_restored([text for _, text in self._gaps()])
            message = f"The restored state is not that of {self._checkpoint}: {what}."
        log_line(message)
        self._log.note(
            entries.failed(
                error_type=proof.ERROR,
                message=message,
                hint=f"`rekindle release {self._job}` accepts the difference and resumes from "
                f"{self._next(newer)}; `rekindle retry {self._job} --from-scratch` starts over.",
                traceback="",
                epoch=epoch,
                step=step,
                trained=True,
            )
        )

    def _next(self, newer: Position | None) -> str:
        """Say from which checkpoint the next attempt resumes."""
        differs = self._written.get("differs")
        if newer is None or (differs is not None and differs["step"] > newer.step):
            return "the last checkpoint before it"
        return f"{newer.name}, which an earlier attempt has saved"
