"""List the files in the inbox, and those that a scan leaves alone.

Editors and copying tools put temporary files beside the file they write, and rename or remove them.
One that stays is shown by `rekindle ls`, since a spec may happen to have such a name.
"""

import functools
import os
import re
from dataclasses import dataclass
from typing import Final

from rekindle.state.paths import Home

_QUIET_S: Final = 300.0
"""Age from which a temporary file is reported: its program has most likely ended."""

_TABLE: Final[tuple[tuple[str, str], ...]] = (
    ("vim", r"4913|5036|5159|\..*\.sw[a-z]"),
    ("Emacs", r"\.?#.*|#.*#"),
    ("LibreOffice", r"\.~lock\..*#"),
    ("Microsoft Office", r"~\$.*"),
    ("gedit, GNOME", r"\.goutputstream-.*"),
    ("Kate", r"\..*\.kate-swp"),
    ("JetBrains", r".*___jb_(?:tmp|old|bak)___"),
    ("Sublime Text", r"\.subl[0-9a-z]+\.tmp"),
    ("sed -i", r"sed[0-9A-Za-z]{6}"),
    ("NFS", r"\.nfs[0-9a-fA-F]{8,}"),
    ("FUSE", r"\.fuse_hidden[0-9a-fA-F]+"),
    ("Syncthing", r"\.syncthing\..*\.tmp|~syncthing~.*"),
    ("Dropbox, Nextcloud", r"\.dropbox.*|\..*\.~[0-9a-f]+|.*\.ocTransferId[0-9]+\.part"),
    ("Unison", r"\.unison\..*"),
    ("a server of FTP", r"\.in\..*|\.pureftpd-.*"),
    ("rekindle", r"\..*\.tmp-[0-9]+|\..*\.[0-9]+\.tmp"),
    ("macOS", r"\.DS_Store|\._.*"),
    ("Windows", r"(?i:thumbs\.db|ehthumbs\.db|desktop\.ini)"),
    ("WinSCP", r".*\.filepart"),
    ("Cyberduck", r".*\.cyberduckpart"),
    ("a browser", r".*\.(?:crdownload|opdownload|download|part)"),
    ("a download", r".*\.(?:partial|aria2|incomplete|inprogress|uploading)"),
    ("rsync", r"\..+\.[0-9A-Za-z]{6}|\.~tmp~"),
    ("an editor", r".*~|.*\.(?:bak|sw[a-z])"),
    ("a program", r".*\.(?:tmp|temp)"),
    ("a program", r"\..*"),
)
"""Program and whole name; the first row that fits is said."""
_ROWS: Final = tuple((program, re.compile(row, re.DOTALL)) for program, row in _TABLE)


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


def entries(home: Home) -> list[os.DirEntry[str]]:
    """List the files in the inbox that a scan would take, by name.

    Raises:
        OSError: the inbox cannot be read.
    """
    rejected = str(home.rejected)
    found = [
        entry
        for entry in os.scandir(home.inbox)
        if program_of(entry.name) is None and entry.path != rejected
    ]
    return sorted(found, key=lambda entry: entry.name)


def waiting(home: Home) -> list[str]:
    """List the names of the files in the inbox that a scan would take, sorted.

    Raises:
        OSError: the inbox cannot be read.
    """
    return [entry.name for entry in entries(home)]


def left_alone(home: Home, now: float) -> list[LeftAlone]:
    """List the temporary files that have not changed for minutes, sorted; one may be a spec.

    Args:
        now: unix time, seconds.

    Raises:
        OSError: the inbox cannot be read.
    """
    found = []
    for entry in sorted(os.scandir(home.inbox), key=lambda entry: entry.name):
        program = program_of(entry.name)
        if program is None:
            continue
        try:
            since = entry.stat(follow_symlinks=False).st_ctime
        except OSError:
            continue  # removed meanwhile
        if now - since >= _QUIET_S:
            found.append(LeftAlone(entry.name, f"a temporary file of {program}", since))
    return found


@functools.lru_cache(1 << 16)
def program_of(name: str) -> str | None:
    """Return the program that makes temporary files of this name; None for any other name."""
    return next((program for program, row in _ROWS if row.fullmatch(name)), None)
