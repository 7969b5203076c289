"""Table of the stages of a run: find the number of each stage that a script enters."""

from collections.abc import Callable
from dataclasses import asdict, replace

from rekindle.jobs.journal_writer import log_line
from rekindle.jobs.stages import equal_stages, match
from rekindle.jobs.stages.decision import Call, Found, New, Record, Refused
from rekindle.state.errors import StateMismatch
from rekindle.state.run import entries

_HINT = (
    "Restore the code and the data of the earlier attempts, or accept the change with `rekindle "
    "retry JOB --allow-change`, which takes the stages in their order, or start over with "
    "`--from-scratch`."
)
_COMPARE = (
    "Compare the results, or call fit in a loop over numbers and start over with `rekindle retry "
    "JOB --from-scratch`."
)


class StageTable:
    """Find the stage of each call among those of earlier attempts, and record new ones.

    Args:
        records: of earlier attempts, by number.
        note: appends a journal entry.
        note_change: adds a change to the receipt.
    """

    def __init__(
        self,
        records: dict[int, Record],
        note: Callable[[entries.Entry], None],
        note_change: Callable[[str], None],
    ) -> None:
        self._records = records
        self._note = note
        self._note_change = note_change
        self._met: list[int] = []
        self._restored = False
        self._caveats: list[tuple[str, str]] = []
        self._refusal: str | None = None
        self._by_order: set[str] = set()
        self._has_own_random = False

    def enter(self, call: Call | None) -> int:
        """Return the number of the stage that a call is; None for a call that has no key.

        An unfinished stage that differs now is found where it was, too: see `refusal`.

        Raises:
            StateMismatch: it is none of the recorded stages, and one of these is unfinished or was
                at the same place.
        """
        following = self._met[-1] + 1 if self._met else 0
        passed = set(self._met)
        unmet = [self._records[n] for n in sorted(self._records) if n not in passed]
        self._caveats, self._refusal, self._has_own_random = [], None, False
        if call is None:
            number = following
        else:
            met = [self._records[n] for n in self._met if n in self._records]
            decision = match.find(call, unmet, following, met)
            if isinstance(decision, Refused):
                number = self._refused(call, decision)
            elif isinstance(decision, New):
                number = self._number_of_new(following)
                self._name_skipped([record for record in unmet if record.ended], number)
                self._begin(number, call)
            else:
                number = self._find(decision, call)
        self._met.append(number)
        return number

    def _refused(self, call: Call, refused: Refused) -> int:
        record = refused.record
        if not record.is_open or call.way.place != record.way.place:
            raise _refuse(call, refused)
        # its checkpoint knows more than its key
        self._refusal = "; ".join(refused.differences)
        return record.number

    @property
    def refusal(self) -> str | None:
        """Difference for which the stage that was entered last must not be trained."""
        return self._refusal

    @property
    def has_own_random(self) -> bool:
        """True if the stage of a fork began with other random states than in the other job."""
        return self._has_own_random

    @property
    def indistinct(self) -> int | None:
        """Number of the stage that was entered last, if only its order tells it from others."""
        record = self._records.get(self._met[-1]) if self._met else None
        if record is None or record.key is None or record.accepted:
            return None
        return record.number if record.way.repeats or not record.way.known else None

    def _find(self, found: Found, call: Call) -> int:
        record = found.record
        number = record.number
        self._restored = True
        if found.guessed_among:
            others = ", ".join(map(str, found.guessed_among))
            what = (
                f"Stage {number}, which is unfinished, has the same content as stage {others}, "
                "which ended, and this training begins with the weights of none of them"
            )
            self._caveats.append((what, "call fit in a loop over numbers"))
        if found.doubt:
            self._name_doubt(found)
        if found.by_order:
            text = f"stage {number} was found by its order: {found.by_order}"
            if found.by_order not in self._by_order:  # each receipt lists all changes
                self._note_change(text)
            self._by_order.add(found.by_order)
            log_line(f"{text}.")
        origin = record.origin
        self._has_own_random = origin is not None and origin.random != call.entry.random
        if found.by_order or record.key is None or record.forked:
            self._begin(number, call)
        elif record.key.data.is_near(call.key.data):
            what = f"The data of stage {number} differs in the last bits from that of before"
            self._caveats.append((what, "prepare it on the CPU, or keep it in a file"))
        elif record.key.data.seeds != call.key.data.seeds:
            what = f"The data pipeline of stage {number} draws with other seeds than before"
            self._caveats.append((what, "give a seed to each shuffle and random operation of it"))
        return number

    def _name_doubt(self, found: Found) -> None:
        """Name a finished stage whose result a call gets that may be another training."""
        self._warn(
            f"A training got the result of stage {found.record.number}, which has the same content "
            f"and had ended, though {found.doubt}: it may be the result of another training.",
            _COMPARE,
        )

    def _warn(self, what: str, hint: str) -> None:
        log_line(what)
        self._note(entries.warned(message=what, hint=hint))

    def _number_of_new(self, following: int) -> int:
        if not any(record.key is not None for record in self._records.values()):
            return following  # all recorded stages are of an older version
        return max(*self._records, following - 1) + 1

    def _name_skipped(self, skipped: list[Record], number: int) -> None:
        """Name stages that the script skips, if nothing has restored the random state since."""
        if skipped and not self._restored:
            numbers = ", ".join(str(record.number) for record in skipped)
            what = (
                f"The script skipped stage {numbers}, which had ended, so that stage {number} may "
                "begin with other random numbers"
            )
            self._caveats.append((what, "set the seed before each model is built"))

    def _begin(self, number: int, call: Call) -> None:
        known = self._records.get(number, Record(number))
        self._records[number] = replace(
            known, key=call.key, entry=call.entry, way=call.way, forked=False
        )
        self._note(
            entries.stage_begun(
                stage=number, key=call.key.to_json(), entry=asdict(call.entry), way=asdict(call.way)
            )
        )

    def caveats(self) -> list[tuple[str, str]]:
        """Return what is not exact of the stage that was entered last, each with a remedy."""
        return list(self._caveats)

    def step_before(self, number: int, step: int) -> int:
        """Return the step at which a new stage begins: after all that the script has skipped."""
        ended = [r.step for r in self._records.values() if r.ended and r.number < number]
        return max(step, *ended, 0)

    def check_met(self) -> None:
        """Check at the end of the script that it has met each stage that had begun.

        Finished ones that it has not met are named where one of them may have been meant by a call
        that got the result of another.

        Raises:
            StateMismatch: it has not met an unfinished stage.
        """
        for number in sorted(self._records):
            record = self._records[number]
            if record.is_open and record.key is not None and number not in self._met:
                raise StateMismatch(
                    f"The script ended without stage {number} ({record.way.place or 'fit'}), "
                    "which an earlier attempt has begun and not finished.",
                    hint="Remove files of the unfinished training by which the script skips it, "
                    "then `rekindle release`; or start over with `rekindle retry JOB "
                    "--from-scratch`.",
                )
        unmet = [r for r in self._records.values() if r.ended and r.number not in self._met]
        for number in self._met:
            met = self._records.get(number)
            if met is not None and met.ended:
                others = [r.number for r in unmet if equal_stages.may_be_mistaken(met, r)]
                if others:
                    self._name_equal(met, others)
                    return

    def _name_equal(self, record: Record, others: list[int]) -> None:
        """Name finished stages that a call may have meant that got the result of another."""
        what = (
            f"A training got the result of stage {record.number}, and the script has not called "
            f"stage {', '.join(map(str, others))} of the same content, which had ended: where it "
            "skips what it has finished, that may be the result of another training."
        )
        self._warn(what, _COMPARE)


def _refuse(call: Call, refused: Refused) -> StateMismatch:
    record = refused.record
    state = "had ended" if record.ended else "is unfinished"
    place = f" at {call.way.place}" if call.way.place else ""
    return StateMismatch(
        f"The training that begins{place} is not stage {record.number} of the earlier attempts, "
        f"which {state}: {'; '.join(refused.differences)}.",
        hint=_HINT,
    )
