"""List the files in the inbox, without those that are being written."""

import os

from rekindle.state.paths import Home


def waiting(home: Home) -> list[str]:
    """List the names of the files in the inbox that a scan would take, sorted.

    Raises:
        OSError: the inbox cannot be read.
    """
    return sorted(
        entry.name
        for entry in os.scandir(home.inbox)
        if not is_temporary(entry.name) and entry.path != str(home.rejected)
    )


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a temporary file of an editor or a copying tool."""
    return (
        name.startswith((".", "#"))
        or name.endswith(("~", ".tmp", ".swp", ".part", ".bak"))
        or name == "4913"
    )
