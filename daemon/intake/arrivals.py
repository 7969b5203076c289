"""What lies in the inbox: which files are meant for the daemon, and which are being written."""

import os

from rekindle.state.paths import Home


def waiting(home: Home) -> list[str]:
    """Names of the files in the inbox that a scan would take, sorted.

    Raises:
        OSError: the inbox cannot be read.
    """
    return sorted(
        entry.name
        for entry in os.scandir(home.inbox)
        if not is_temporary(entry.name) and entry.path != str(home.rejected)
    )


def is_temporary(name: str) -> bool:
    """Files that editors and copying tools put beside the one they write."""
    return (
        name.startswith((".", "#"))
        or name.endswith(("~", ".tmp", ".swp", ".part", ".bak"))
        or name == "4913"
    )
