"""Key of a stage: its content, by which every attempt finds the same one again."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

Json = dict[str, Any]

FORMAT: Final = 1
"""Of keys in the journal. Raise it where a digest changes: stages of another format are found by
their order."""
_CLOSE: Final = 1e-3
"""Relative difference up to which two samples are the same number with other last bits."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """Hold digests of the data of a stage.

    Attributes:
        exact: digest of everything that was looked at.
        form: digest of the same without floats.
        sample: some of the floats.
        seeds: digest of random seeds that the data was given when it was made.
        text: types and shapes, for messages.
    """

    exact: str = ""
    form: str = ""
    sample: tuple[float, ...] = ()
    seeds: str = ""
    text: str = ""

    def equals(self, other: "DataKey") -> bool:
        """Return whether the data is the same, up to the last bits of floats."""
        return self.exact == other.exact or self.is_near(other)

    def is_near(self, other: "DataKey") -> bool:
        """Return whether only the last bits of floats differ, as results of a GPU may."""
        return (
            self.exact != other.exact
            and self.form == other.form
            and len(self.sample) == len(other.sample) > 0
            and all(map(_near, self.sample, other.sample))
        )


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE * _CLOSE)


@dataclass(frozen=True, slots=True)
class StageKey:
    """Hold what a stage is, apart from its place in the script.

    Attributes:
        kind: fit or loop.
        architecture, optimizer: digests.
        arguments: those that decide the result, as text by name.
        loss: of the compiled model; only a preference among stages that are equal otherwise.
    """

    kind: str
    architecture: str
    optimizer: str
    arguments: dict[str, str]
    data: DataKey = field(default_factory=DataKey)
    loss: str = ""

    def fits(self, other: "StageKey") -> bool:
        """Return whether two keys are of the same training."""
        return self == other or next(self.differences(other), None) is None

    def differences(self, recorded: "StageKey") -> Iterator[str]:
        """Say in words which parts differ from a recorded key."""
        if self.kind != recorded.kind:
            yield f"it was a {recorded.kind} and is a {self.kind}"
        if self.architecture != recorded.architecture:
            yield "the architecture differs"
        if self.optimizer != recorded.optimizer:
            yield "the optimizer differs"
        for name in sorted({*self.arguments, *recorded.arguments}):
            before, now = recorded.arguments.get(name), self.arguments.get(name)
            if before != now:
                yield f"{name} was {before} and is {now}"
        if not self.data.equals(recorded.data):
            before, now = recorded.data.text, self.data.text
            yield (
                "the content of the data differs"
                if before == now
                else f"the data was {before} and is {now}"
            )

    def to_json(self) -> Json:
        """Return the key as JSON for the journal."""
        made = {"format": FORMAT, **asdict(self)}
        made["data"]["sample"] = [float(f"{value:.6g}") for value in self.data.sample]
        return made

    @classmethod
    def parse(cls, value: Any) -> "StageKey | None":
        """Read a key from the journal; None if it has another form."""
        try:
            if value["format"] != FORMAT:
                return None
            data = dict(value["data"])
            sample = tuple(float(one) for one in data.pop("sample"))
            texts = {name: data[name] for name in ("exact", "form", "seeds", "text")}
            parts = [value[name] for name in ("kind", "architecture", "optimizer", "loss")]
            arguments = dict(value["arguments"])
        except (LookupError, TypeError, ValueError, AttributeError):
            return None
        if not all(isinstance(one, str) for one in [*texts.values(), *parts, *arguments.values()]):
            return None
        kind, architecture, optimizer, loss = parts
        return cls(kind, architecture, optimizer, arguments, DataKey(sample=sample, **texts), loss)


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold digests of the state that a stage began with.

    Attributes:
        weights: of the models, and of initial values still to be drawn.
        random: of the states of all random generators.
    """

    weights: str = ""
    random: str = ""

    @classmethod
    def parse(cls, value: Any) -> "Entry":
        """Read an entry from the journal; empty parts if it has another form."""
        known = value if isinstance(value, dict) else {}
        return cls(*(str(known.get(name) or "") for name in ("weights", "random")))


@dataclass(frozen=True, slots=True)
class Way:
    """Hold the way of calls from the script to a stage.

    Attributes:
        lines: function and line of each call.
        turns: values of the variables of the loops around these calls, by name, as text.
        given: digest of the parameters of these functions.
        known: False where code of a library calls the stage, or a loop's variable has no text:
            equal ways may then be of different stages.
        columns: of each call in its line, which may hold several; empty where unknown.
        code: digest of the source files of these functions; empty where unknown.
        repeats: a loop without a variable surrounds a call, or a function calls itself: a script
            may pass the place several times in one turn.
    """

    lines: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()
    given: str = ""
    known: bool = False
    columns: tuple[str, ...] = ()
    code: str = ""
    repeats: bool = False

    def equals(self, other: "Way") -> bool:
        """Return whether both are known and the same."""
        return self.known and other.known and self.is_alike(other)

    def is_alike(self, other: "Way") -> bool:
        """Return whether all that is known of both is the same."""
        return self.given == other.given and self.is_alike_but_given(other)

    def is_alike_but_given(self, other: "Way") -> bool:
        """Return whether all that is known of both is the same, whatever the parameters."""
        return (
            self.turns == other.turns
            and self.lines == other.lines
            and self.known == other.known
            and not self._is_other_column(other)
        )

    def is_other_turn(self, other: "Way") -> bool:
        """Return whether a loop's variable has another value, as far as values are known."""
        if len(self.turns) != len(other.turns) and not (self.code and other.code):
            return False  # one of an older version, which knew fewer variables
        if self.known and other.known:
            return self.turns != other.turns
        return self.lines == other.lines and self.is_other_value(other)

    def is_other_value(self, other: "Way") -> bool:
        """Return whether a variable of the same loops has another value.

        A change of the script may have renamed variables.
        """
        pairs = [[turn.split(" = ", 1) for turn in way.turns] for way in (self, other)]
        if [name for name, *_ in pairs[0]] != [name for name, *_ in pairs[1]]:
            return False
        known = self.known and other.known
        return any(
            now != then and (known or "None" not in (now[-1], then[-1]))
            for now, then in zip(*pairs, strict=True)
        )

    def is_other_line(self, other: "Way") -> bool:
        """Return whether both are known, and the calls are at other places."""
        return (
            self.known
            and other.known
            and (self.lines != other.lines or self._is_other_column(other))
        )

    def _is_other_column(self, other: "Way") -> bool:
        return bool(self.columns and other.columns) and self.columns != other.columns

    @property
    def place(self) -> str:
        """The line of the last call, for messages."""
        return self.lines[-1] if self.lines else ""

    @classmethod
    def parse(cls, value: Any) -> "Way":
        """Read a way from the journal; an unknown one if it has another form."""
        if not isinstance(value, dict) or not isinstance(value.get("known"), bool):
            return cls()
        parts = [value.get("lines"), value.get("turns"), value.get("columns", [])]
        if not all(isinstance(part, list) for part in parts):
            return cls()
        lines, turns, columns = (tuple(str(one) for one in part or ()) for part in parts)
        given, code = (str(value.get(name) or "") for name in ("given", "code"))
        repeats = value.get("repeats") is True
        return cls(lines, turns, given, value["known"], columns, code, repeats)
