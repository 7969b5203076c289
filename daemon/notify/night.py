"""Add to a message what only the whole ledger says: the headline of the night, best metrics.

In the process that sends: the daemon's loop reads no more than single rows for a message.
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from rekindle.daemon.client.morning import Morning
from rekindle.daemon.notify import message
from rekindle.daemon.notify.notices import Notice
from rekindle.daemon.report import facts, headline, since, summary, text
from rekindle.state.ledger.period import Period
from rekindle.state.paths import Home


def completed(value: dict[str, Any]) -> dict[str, Any]:
    """Return the message with headline and results; as it is where the ledger cannot be read."""
    home = Home(Path(str(value.get("home"))))
    try:
        with contextlib.closing(Period.open(home.ledger, readonly=True)) as book:
            return _completed(value, home, book)
    except Exception:
        return value  # a message without its headline is better than none


def _completed(value: dict[str, Any], home: Home, book: Period) -> dict[str, Any]:
    now = time.time()
    began = since.parse(since.EVENING, now)
    night = headline.of(facts.brief(book, Morning.of(home, book, now), began, now)).text
    notices = [_with_result(Notice.from_json(one), home, book, now) for one in value["notices"]]
    left_out = int(value.get("left_out") or 0)
    line = f"Since {since.EVENING}: {night}"
    return {
        **value,
        "headline": line,
        "text": f"{line}\n\n{message.body(notices, left_out)}",
        "notices": [one.to_json() for one in notices],
    }


def _with_result(notice: Notice, home: Home, book: Period, now: float) -> Notice:
    """Say of a job that is done what it reached, and against which one before."""
    if notice.kind != "done":
        return notice
    found = facts.of_job(home, book, notice.about, 0.0, now)
    if found is None or found.command or found.best is None:
        return notice
    done = summary.done(found)
    return Notice(
        notice.kind, notice.about, text.result(done), done.export or notice.command, notice.at
    )
