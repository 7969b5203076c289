"""Write the message of a batch of notices. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from rekindle.daemon.config import NOTICES
from rekindle.daemon.notify.notices import Notice
from rekindle.state.counted import counted

FORMAT: Final = 1
_NEEDS_YOU: Final = ("held", "failed", "refused", "interrupted", "disk")
_LOOK: Final = "rekindle show "
"""Commands that show a job: not worth a line on a phone."""
_MOST: Final = 40
"""Notices of one kind that a message lists; a phone shows no more."""


def title(host: str, notices: Sequence[Notice]) -> str:
    """Say in one line what happened: ``rekindle on gpu1: 1 held, 3 done``."""
    counts = [
        f"{count} {kind}"
        for kind in (*_NEEDS_YOU[:-1], "done")
        if (count := sum(one.kind == kind for one in notices))
    ]
    if any(one.kind == "disk" for one in notices):
        counts.append("disk")
    return f"rekindle on {host}: {', '.join(counts)}"


def body(notices: Sequence[Notice], left_out: int = 0) -> str:
    """List the notices in the order of a morning: first what needs a person.

    Args:
        left_out: notices that were too many to be kept.
    """
    lines: list[str] = []
    wanted = [one for kind in _NEEDS_YOU for one in notices if one.kind == kind]
    for heading, chosen in (
        ("Needs you", wanted),
        ("Done", [one for one in notices if one.kind == "done"]),
    ):
        if not chosen:
            continue
        lines += ["", heading] if lines else [heading]
        for one in chosen[:_MOST]:
            about = "" if one.kind == "disk" else f"{one.about} {one.kind}: "
            lines.append(f"- {about}{one.text}")
            if one.command and not one.command.startswith(_LOOK):
                lines.append(f"  $ {one.command}")
        if len(chosen) > _MOST:
            lines.append(f"- and {len(chosen) - _MOST} more")
    if left_out:
        lines += ["", f"{counted(left_out, 'notice')} more were left out: `rekindle report`."]
    return "\n".join(lines)


def as_json(host: str, home: str, notices: Sequence[Notice], left_out: int = 0) -> dict[str, Any]:
    """Return what a command gets on its standard input; docs/configuration.md has the fields."""
    return {
        "format": FORMAT,
        "host": host,
        "home": home,
        "title": title(host, notices),
        "text": body(notices, left_out),
        "notices": [one.to_json() for one in sorted(notices, key=_order)],
        "left_out": left_out,
    }


def _order(notice: Notice) -> tuple[int, float]:
    order = (*_NEEDS_YOU, "done")
    return order.index(notice.kind) if notice.kind in NOTICES else len(order), notice.at
