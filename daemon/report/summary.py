"""Compute the morning from the facts of a period: pure, in the one order that all pages share.

Headline, what needs a person, done, grids, running, refused, timeline, host.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.daemon.client.lines import plain
from rekindle.daemon.report import headline, timeline
from rekindle.daemon.report.facts import Facts, JobFacts, PointFacts
from rekindle.daemon.report.headline import Headline
from rekindle.daemon.report.host import Host
from rekindle.daemon.report.needs import Need, needs
from rekindle.daemon.report.timeline import Moment
from rekindle.state.counted import counted
from rekindle.state.ledger.held_time import HeldTime
from rekindle.state.ledger.period import Best
from rekindle.state.lifecycle import ACTIVE, WAITS, JobState


@dataclass(frozen=True, slots=True)
class Done:
    """Describe a job that is done.

    Attributes:
        at: unix time of its end.
        best: the best value of its metric.
        before: the last done job of that name.
        before_best: its best value.
        better: whether this one is better; None where there is nothing to compare.
        model: the folder of the checkpoint with the model; None where none was kept.
        export: the command that writes the model; empty where rekindle has none.
        held: how its time divides.
    """

    id: str
    at: float
    attempts: int
    survived: int
    best: Best | None
    before: str | None
    before_best: Best | None
    better: bool | None
    model: str | None
    export: str
    held: HeldTime | None


@dataclass(frozen=True, slots=True)
class Point:
    """One job of a grid; ``best`` is None where the metric was not logged.

    Attributes:
        point: the parameters by name; ``text`` is how people read them.
    """

    id: str
    state: str
    point: dict[str, Any]
    text: str
    best: Best | None

    def shown(self, name: str) -> str:
        """Return a parameter as a spec has it, a text without its quotes."""
        value = self.point.get(name, "-")
        return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Grid:
    """All jobs of one grid.

    Attributes:
        id: what they have in common in `ls --json` and `show --json`.
        metric: by which they are compared; None where none was logged.
        points: the best first, those without a value last.
    """

    id: str
    name: str
    metric: str | None
    points: tuple[Point, ...]

    @property
    def best(self) -> Point | None:
        """The job with the best value."""
        return self.points[0] if self.points[0].best is not None else None

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, in the order of the spec."""
        return [*self.points[0].point]

    @property
    def text(self) -> str:
        """Say in a sentence how far it is, and which point is the best."""
        states = Counter(one.state for one in self.points)
        far = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        said = f"{counted(len(self.points), 'point')}: {far}."
        best = self.best
        if best is None or best.best is None:
            return f"{said} No metric was logged."
        value = f"{plain(best.best.metric)} {best.best.value:.6g}"
        return f"{said} Best {value}: {best.id} with {plain(best.text)}."


@dataclass(frozen=True, slots=True)
class Refused:
    """Describe a file that was refused, with the command that submits it once it is corrected."""

    file: str
    at: float
    error: str
    hint: str
    command: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Hold the morning, in its order."""

    since: float
    now: float
    headline: Headline
    needs: tuple[Need, ...]
    done: tuple[Done, ...]
    grids: tuple[Grid, ...]
    running: tuple[JobFacts, ...]
    waiting: int
    refused: tuple[Refused, ...]
    timeline: tuple[Moment, ...]
    host: Host | None


def of(facts: Facts) -> Summary:
    """Compute the morning."""
    return Summary(
        facts.since,
        facts.now,
        headline.of(facts),
        needs(facts),
        tuple(done(one) for one in facts.jobs if one.row.state == JobState.DONE),
        tuple(grid(points) for points in facts.grids),
        tuple(one for one in facts.jobs if one.row.state in ACTIVE),
        sum(facts.counts.get(state, 0) for state in WAITS),
        refused(facts),
        timeline.of(facts),
        facts.host,
    )


def done(one: JobFacts) -> Done:
    """Describe a job that is done."""
    job, best = one.row, one.best
    before = one.before if best is not None else None
    better = None
    if best is not None and before is not None and before[1].metric == best.metric:
        was = before[1].value
        better = best.value > was if best.higher else best.value < was
    export = ""
    if one.saved is not None and not one.command:
        which = " --best" if one.saved.best else ""
        export = f"rekindle export {job.id}{which} --to {job.id}.keras"
    return Done(
        job.id,
        job.updated_at,
        job.attempts,
        headline.survived(one),
        best,
        before[0] if before is not None else None,
        before[1] if before is not None else None,
        better,
        None if one.saved is None else one.saved.path,
        export,
        one.held,
    )


def grid(points: Sequence[PointFacts]) -> Grid:
    """Compare the jobs of a grid by the metric that most of them have logged."""
    metrics = Counter(one.best.metric for one in points if one.best is not None)
    metric = metrics.most_common(1)[0][0] if metrics else None
    found = [
        Point(
            one.row.id,
            str(one.row.state),
            one.row.point or {},
            one.row.point_text,
            one.best if one.best is not None and one.best.metric == metric else None,
        )
        for one in points
    ]
    return Grid(
        str(points[0].row.grid), points[0].row.name, metric, tuple(sorted(found, key=_rank))
    )


def _rank(one: Point) -> tuple[bool, float]:
    if one.best is None:
        return True, 0.0
    return False, -one.best.value if one.best.higher else one.best.value


def refused(facts: Facts) -> tuple[Refused, ...]:
    """List the files that were refused and are still there."""
    return tuple(
        Refused(
            str(event.data.get("file")),
            event.at,
            plain(str(event.data.get("error") or "")),
            plain(str(event.data.get("hint") or "")),
            facts.home.resubmit(event),
        )
        for event in facts.home.refused
    )
