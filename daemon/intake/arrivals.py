"""List the files in the inbox, and those that a scan leaves alone."""

import os
from dataclasses import dataclass
from typing import Final

from rekindle.daemon.intake import temporary_names
from rekindle.state.paths import Home

_QUIET_S: Final = 300.0
"""Age from which a temporary file is reported: its program has most likely ended."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Describe a file of the inbox that is neither accepted nor refused.

    Attributes:
        reason: a phrase, e.g. "a temporary file of rsync".
        since: unix time, seconds, of its last change.
    """

    name: str
    reason: str
    since: float


def waiting(home: Home) -> list[str]:
    """List the names of the files in the inbox that a scan would take, sorted.

    Raises:
        OSError: the inbox cannot be read.
    """
    return sorted(
        entry.name
        for entry in os.scandir(home.inbox)
        if temporary_names.program(entry.name) is None and entry.path != str(home.rejected)
    )


def left_alone(home: Home, now: float) -> list[LeftAlone]:
    """List the temporary files that have not changed for minutes, sorted; one may be a spec.

    Args:
        now: unix time, seconds.

    Raises:
        OSError: the inbox cannot be read.
    """
    found = []
    for entry in sorted(os.scandir(home.inbox), key=lambda entry: entry.name):
        program = temporary_names.program(entry.name)
        if program is None:
            continue
        try:
            since = entry.stat(follow_symlinks=False).st_ctime
        except OSError:
            continue  # removed meanwhile
        if now - since >= _QUIET_S:
            found.append(LeftAlone(entry.name, f"a temporary file of {program}", since))
    return found
