"""Read from the journal what the proofs of earlier attempts of a run found."""

from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.state.run import proof
from rekindle.state.run.entries import Entry


@dataclass(frozen=True, slots=True)
class EarlierProofs:
    """Hold what earlier attempts found.

    Attributes:
        scratches: how often a start from scratch was requested.
        differed_in: the first attempt whose repeated steps differ, since the last of these.
        accepted: the job was held for a difference and released, and has no checkpoint since.
    """

    scratches: int = 0
    differed_in: int | None = None
    accepted: bool = False

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "EarlierProofs":
        """Read them from the entries of a journal, or of its summary."""
        scratches, accepted = 0, False
        differed_in: int | None = None
        for entry in entries:
            kind = entry["kind"]
            if kind == "scratch_requested":
                scratches += 1
                differed_in = None
            elif kind == "proved" and entry["result"] == proof.DIFFERENT:
                differed_in = entry["attempt"] if differed_in is None else differed_in
            elif kind == "checkpoint_committed":
                accepted = False
            elif kind == "failed" and entry.get("error_type") == proof.ERROR:
                accepted = True
        return cls(scratches, differed_in, accepted)
