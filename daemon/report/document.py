"""Write a summary as JSON, in the shape that docs/json.md describes."""

import dataclasses
from typing import Any

from rekindle.daemon.client import progress
from rekindle.daemon.report.facts import JobFacts
from rekindle.daemon.report.headline import Headline
from rekindle.daemon.report.summary import Done, Grid, Summary
from rekindle.state.ledger.period import Best


def as_json(summary: Summary) -> dict[str, Any]:
    """Return all sections, in their order."""
    return {
        "since": summary.since,
        "until": summary.now,
        "headline": headline(summary.headline),
        "needs_you": [dataclasses.asdict(one) for one in summary.needs],
        "done": [_done(one) for one in summary.done],
        "grids": [_grid(one) for one in summary.grids],
        "running": [_running(one) for one in summary.running],
        "waiting": summary.waiting,
        "refused": [dataclasses.asdict(one) for one in summary.refused],
        "timeline": [dataclasses.asdict(one) for one in summary.timeline],
        "host": None if summary.host is None else dataclasses.asdict(summary.host),
    }


def headline(head: Headline) -> dict[str, Any]:
    """Return the headline, in numbers and as text."""
    numbers = dataclasses.asdict(head)
    return {
        "text": head.text,
        **numbers,
        "hours": round(head.hours, 4),
        "useful": round(head.useful, 4),
    }


def _best(best: Best | None) -> dict[str, Any] | None:
    return None if best is None else dataclasses.asdict(best)


def _done(one: Done) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": one.at,
        "attempts": one.attempts,
        "survived": one.survived,
        "best": _best(one.best),
        "before": one.before,
        "before_best": _best(one.before_best),
        "better": one.better,
        "model": one.model,
        "export": one.export,
        "time": None if one.held is None else one.held.as_json(),
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {
        "id": grid.id,
        "name": grid.name,
        "metric": grid.metric,
        "best": None if grid.best is None else grid.best.id,
        "points": [
            {"job": one.id, "state": one.state, "point": one.point, "best": _best(one.best)}
            for one in grid.points
        ],
    }


def _running(one: JobFacts) -> dict[str, Any]:
    far = one.far
    return {
        "id": one.row.id,
        "state": str(one.row.state),
        "attempts": one.row.attempts,
        "progress": None if far is None else progress.as_json(far),
        "time": None if one.held is None else one.held.as_json(),
    }
