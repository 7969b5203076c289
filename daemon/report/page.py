"""Render a summary as one HTML page that needs nothing else: no network, no file beside it.

A name, a metric or a log line may be hostile: every text is escaped by Jinja, the numbers of the
curves are data and no script, and the page's policy lets a browser run our two scripts only.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any, Final

from rekindle.daemon import extras
from rekindle.daemon.client import held, terminal
from rekindle.daemon.client.lines import plain
from rekindle.daemon.report import text
from rekindle.daemon.report.curves import Curves
from rekindle.daemon.report.details import MOST_JOBS, Details
from rekindle.daemon.report.summary import Summary
from rekindle.state.hints import name_home

_ASSETS: Final = Path(__file__).with_name("assets")
_VALUES: Final = 200
"""Rows of the table of values below each curve."""


def render(summary: Summary, details: dict[str, Details], home: object | None) -> str:
    """Return the page.

    Args:
        home: what was given as --home, for the commands.

    Raises:
        ExtraMissing: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise extras.missing("The page", "Jinja2", "report") from None

    def command(given: str) -> str:
        return plain(name_home(f"`{given}`", home)[1:-1]) if given else ""

    made = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        {
            "when": terminal.when,
            "command": command,
            "hint": lambda given: plain(name_home(given, home)),
            "plain": lambda given: plain(str(given)),
            "value": lambda given: "-" if given is None else f"{given:.6g}",
            "describe_host": text.describe,
            "describe_result": text.result,
            "describe_time": held.text,
        }
    )
    shown = {one.id for one in summary.done} | {one.row.id for one in summary.running}
    shown |= {need.about for need in summary.needs if need.job}
    styles = [_read("uPlot.min.css"), _read("page.css")]
    scripts = [_read("uPlot.iife.min.js"), _read("page.js")]
    return made.get_template("page.html.j2").render(
        summary=summary,
        details=details,
        charts={job: charts(one.curves) for job, one in details.items() if one.curves},
        tables={job: _table(one.curves) for job, one in details.items() if one.curves},
        styles=styles,
        scripts=scripts,
        policy=_policy(styles, scripts),
        without_details=len(shown - details.keys()) if len(details) >= MOST_JOBS else 0,
    )


def charts(curves: Curves) -> list[dict[str, Any]]:
    """Return the charts of a job: a metric beside its value on the validation data."""
    found = []
    for name in curves.values:
        if name.startswith("val_") and name[4:] in curves.values:
            continue
        series = [name, *([f"val_{name}"] if f"val_{name}" in curves.values else [])]
        found.append(
            {
                "title": plain(name),
                "series": [
                    {"label": plain(one), "values": list(curves.values[one])} for one in series
                ],
                "x": list(curves.x),
                "attempts": list(curves.attempts),
            }
        )
    return found


def _table(curves: Curves) -> list[tuple[int, int, list[float | None]]]:
    """Return the values of evenly distributed epochs, for readers without curves."""
    count = len(curves.x)
    every = max(1, -(-count // _VALUES))
    chosen = sorted({*range(0, count, every), count - 1})
    return [
        (curves.x[n], curves.attempts[n], [values[n] for values in curves.values.values()])
        for n in chosen
    ]


def _policy(styles: list[str], scripts: list[str]) -> str:
    """Return what a browser may load and run: these styles and scripts, nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src {' '.join(map(_hash, styles))}",
            f"script-src {' '.join(map(_hash, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (_ASSETS / name).read_text()
