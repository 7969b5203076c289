"""Recognize the temporary files that editors and copying tools put beside the file they write.

They are left alone: the program renames or removes them. One that stays is shown by
`rekindle ls`, since a spec may happen to have such a name.
"""

import re
from typing import Final

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
    ("a download", r".*\.(?:partial|aria2)"),
    ("rsync", r"\..+\.[0-9A-Za-z]{6}|\.~tmp~"),
    ("an editor", r".*~|.*\.(?:bak|sw[a-z])"),
    ("a program", r".*\.(?:tmp|temp)"),
    ("a program", r"\..*"),
)
"""Program and whole name; the first row that fits is said."""
_ROWS: Final = tuple((program, re.compile(row, re.DOTALL)) for program, row in _TABLE)


def program(name: str) -> str | None:
    """Return the program that makes temporary files of this name; None for any other name."""
    return next((program for program, row in _ROWS if row.fullmatch(name)), None)
