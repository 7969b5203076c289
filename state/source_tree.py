"""Check a snapshot of a job's code: a folder ``tree``, and beside it the list of its files."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

TREE: Final = "tree"
FILES: Final = "files.json"


def damage(tree: Path, digest: str) -> str | None:
    """Explain what is wrong with the snapshot of this digest; None if it is intact."""
    try:
        record = json.loads(tree.with_name(FILES).read_bytes())
        if hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest() != digest:
            return "its list of files has changed since the snapshot was taken"
        for name, entry in record["files"].items():
            if hashlib.sha256((tree / name).read_bytes()).hexdigest() != entry["sha256"]:
                return f"{name} has changed since the snapshot was taken"
    except FileNotFoundError as error:
        return f"{os.path.basename(str(error.filename))} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({error})"
    return None


def changed_data(tree: Path, root: Path) -> list[str]:
    """List files under ``root`` that differ from the snapshot and are not Python code.

    The script reads the originals of such files, not the copies.
    """
    try:
        files = json.loads(tree.with_name(FILES).read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        name
        for name, entry in files.items()
        if not name.endswith(".py") and not _is_same(root / name, entry)
    ]


def _is_same(path: Path, entry: dict[str, Any]) -> bool:
    try:
        if path.stat().st_size != entry["bytes"]:
            return False
        digest: str = entry["sha256"]
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False
