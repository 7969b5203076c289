"""Maintain the link that all users call as `rekindle`; never replace a file of others."""

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link to make, unless the name belongs to another installation.

    Attributes:
        ours: targets of links that earlier installations made; such a link is replaced.
    """

    path: Path
    target: Path
    ours: tuple[Path, ...] = ()


def make(link: Link) -> bool:
    """Make or replace the link; return False if it is right already, or belongs to others.

    Raises:
        OSError: the folder cannot be written.
    """
    path = link.path
    if os.path.lexists(path) and (
        leads_to(path, (link.target,)) or not (dangles(path) or is_ours(path, link.ours))
    ):
        return False
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(link.target)
    os.replace(temporary, path)
    return True


def describe_unchanged(link: Link) -> str:
    """Say why :func:`make` changed nothing."""
    if leads_to(link.path, (link.target,)):
        return f"{link.path} is up to date"
    what = f"links to {os.path.realpath(link.path)}" if link.path.is_symlink() else "is a file"
    return (
        f"{link.path} is not changed: it {what}, of another installation; the command "
        f"`rekindle` may run that one instead of {link.target}"
    )


def is_ours(path: Path, targets: tuple[Path, ...]) -> bool:
    """Return whether `rekindle install` made the link ``path`` to one of ``targets``.

    A link of `pipx install --global` is not ours: pipx made it, and pipx removes it.
    """
    return (
        path.is_symlink()
        and leads_to(path, targets)
        and "pipx" not in Path(os.path.realpath(path)).parts
    )


def leads_to(path: Path, targets: tuple[Path, ...]) -> bool:
    """Return whether ``path`` resolves to one of ``targets``."""
    return os.path.realpath(path) in {os.path.realpath(target) for target in targets}


def dangles(path: Path) -> bool:
    """Return whether ``path`` is a link to a missing file, as of a removed environment."""
    return path.is_symlink() and not os.path.exists(path)


def of_unit(unit: Path) -> tuple[Path, ...]:
    """Find the command beside the interpreter of an installed unit; empty without a unit."""
    try:
        text = unit.read_text()
    except (OSError, UnicodeDecodeError):
        return ()
    found = re.search(r'^ExecStart=(?:"((?:[^"\\]|\\.)+)"|(\S+))', text, flags=re.MULTILINE)
    if found is None:
        return ()
    program = re.sub(r"\\(.)", r"\1", found[1] or found[2]).replace("%%", "%")
    return (Path(program).with_name("rekindle"),)
