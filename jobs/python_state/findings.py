"""Findings of a restore of Python state: each becomes a caveat of the receipt."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rekindle.jobs.capture.component import Caveat

_NAMED: Final = 3


@dataclass
class Findings:
    """Collect what could not be restored.

    Attributes:
        differing: paths that training had changed, and that the script set to another value than
            the attempt that saved; they are left alone.
        missing: paths whose value cannot be restored.
        advanced: paths of iterators that cannot be restored.
        made_later: paths of iterators that do not exist yet, with what they refer to:
            ``on_epoch_begin`` may make them again.
        others: kinds and paths of unchanged arrays and the like that are others in this attempt.
    """

    differing: dict[str, None] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    advanced: dict[str, None] = field(default_factory=dict)
    made_later: dict[str, Sequence[str]] = field(default_factory=dict)
    others: dict[tuple[str, str], None] = field(default_factory=dict)

    def miss(self, path: str, *, is_iterator: bool = False) -> None:
        """Note a value that cannot be restored."""
        (self.advanced if is_iterator else self.missing)[path] = None

    def caveats(self, wrong: Iterable[str], home: str) -> Iterator[Caveat]:
        """Say what was found.

        Args:
            wrong: paths that hold another value than the checkpoint says.
            home: instruction by which state is kept.
        """
        for path in self.differing:
            yield Caveat(
                f"{path} began this attempt with another value than earlier ones, so that what "
                "training had made of it was not restored",
                "give it the same value in every attempt",
            )
        for kind, path in self.others:
            yield Caveat(
                f"The {kind} {path} is not that of earlier attempts",
                f"create the same {kind} in every attempt",
            )
        for path in self.advanced:
            yield advanced(path)
        for path in self.missing:
            yield Caveat(
                f"{path} was changed by the training and cannot be restored",
                "keep plain data, arrays or variables in it, or make it before the training",
            )
        named = {*self.missing, *self.advanced, *self.differing}
        left = [path for path in dict.fromkeys(wrong) if path not in named]
        if left:
            more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
            yield Caveat(
                f"The Python state is not that of the checkpoint: {', '.join(left[:_NAMED])}{more}",
                f"keep it {home}",
            )

    def never_made(self, existing: Iterable[str]) -> Iterator[Caveat]:
        """Name the iterators that no callback has made again, once an epoch has begun."""
        known = set(existing)
        for path, references in self.made_later.items():
            if known.isdisjoint(references):
                yield advanced(path)


def advanced(path: str) -> Caveat:
    """Name an iterator that a relaunch begins again."""
    return Caveat(
        f"{path}, an iterator, was advanced by the training, and a relaunch begins it again",
        "iterate over a tf.data.Dataset there, or choose what is taken by epoch and step",
    )
