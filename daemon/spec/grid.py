"""Read the parameter grid of a spec, and make its points: one job each.

A point adds its parameters to the arguments of the script, as `argparse` reads them.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rekindle.daemon.spec.kinds import Kind, Wrong, kind_of
from rekindle.jobs.job import GridPoint, Job

MOST_POINTS: Final = 256
"""Jobs that one spec can become: they are accepted in one step, within one tick of the daemon."""
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
"""Valid names of parameters, as an option has them after its `--`."""

Value = str | int | float | bool


def _read_name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Wrong(
            "cannot be the name of an option",
            "Write it without its `--`: lr = [0.1, 0.01] gives `--lr 0.1` to the script.",
        )
    return value


def _read_values(value: Any) -> list[Value]:
    if not isinstance(value, list):
        raise Wrong(
            f"must be a list of values, not {kind_of(value)}",
            "Write for example lr = [0.1, 0.01]; what has one value belongs into `args`.",
        )
    if not value:
        raise Wrong("has no value", "Give at least one, or remove the line.")
    seen: set[tuple[str, ...]] = set()
    for item in value:
        _check(item)
        given = tuple(words("x", item))
        if given in seen:
            raise Wrong(
                f"has the value {_shown(item)} twice",
                "Remove one of them: each point is trained once.",
            )
        seen.add(given)
    return list(value)


def _check(item: Any) -> None:
    """Raise `Wrong` for a value that no option can have."""
    if not isinstance(item, Value):
        raise Wrong(
            f"has a value that is {kind_of(item)}",
            "Write texts, numbers, true or false; a list for the script is one text.",
        )
    if isinstance(item, str) and "\0" in item:
        raise Wrong("has a value with a NUL character", "Remove it.")
    if isinstance(item, float) and not math.isfinite(item):
        raise Wrong(f"has the value {item!r}", f'Write it as a text: "{item!r}".')
    if isinstance(item, int) and not -(2**63) <= item < 2**63:
        raise Wrong("has a number that is too large", "Write it as a text, in quotes.")


def _shown(item: Value) -> str:
    return str(item).lower() if isinstance(item, bool) else repr(item)


VALUES: Final = Kind(
    _read_values,
    {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
    },
)
NAMES: Final = Kind(_read_name, {"type": "string", "pattern": f"^{NAME.pattern}$"})


def words(name: str, value: Value) -> list[str]:
    """Return the arguments that give a script one parameter.

    `true` is the option alone and `false` leaves it out, as `store_true` of `argparse` has it. A
    value that begins with `-` follows `=`, since it would be taken for an option.
    """
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    text = value if isinstance(value, str) else repr(value)
    if not text or text.startswith("-"):
        return [f"--{name}={text}"]
    return [f"--{name}", text]


def count(axes: Mapping[str, Sequence[Value]]) -> int:
    """Count the points of a grid."""
    return math.prod(len(values) for values in axes.values())


def points(job: Job, axes: Mapping[str, Sequence[Value]]) -> Iterator[Job]:
    """Yield the job of each point, the last parameter changing first; the job itself without axes.

    The grid is named when the spec is accepted.
    """
    if not axes:
        yield job
        return
    of = count(axes)
    for number, values in enumerate(itertools.product(*axes.values()), 1):
        point = dict(zip(axes, values, strict=True))
        given = [word for name, value in point.items() for word in words(name, value)]
        grid = GridPoint("", number, of, point)
        if job.command is not None:
            yield job.replace(command=[*job.command, *given], grid=grid)
        else:
            yield job.replace(args=[*job.args, *given], grid=grid)
