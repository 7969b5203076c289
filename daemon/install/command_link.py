"""The link by which everybody calls `rekindle`: ours is kept up to date, others' are left alone."""

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, unless something of another owner has the name.

    Attributes:
        ours: other targets of a link that an earlier installation made; it is replaced.
    """

    path: Path
    target: Path
    ours: tuple[Path, ...] = ()


def make(link: Link) -> bool:
    """Makes or replaces it; False where it is right, or somebody else's.

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


def as_it_is(link: Link) -> str:
    """What to say where :func:`make` had nothing to do."""
    if leads_to(link.path, (link.target,)):
        return f"{link.path} is as it should be"
    what = f"leads to {os.path.realpath(link.path)}" if link.path.is_symlink() else "is a file"
    return (
        f"{link.path} is left alone: it {what}, which is not of this installation; whoever "
        f"calls `rekindle` may get that one instead of {link.target}"
    )


def is_ours(path: Path, targets: tuple[Path, ...]) -> bool:
    """Whether it is a link to one of ``targets`` that an installation of the service made.

    `pipx install --global` makes the same link by itself, and takes it away by itself.
    """
    return (
        path.is_symlink()
        and leads_to(path, targets)
        and "pipx" not in Path(os.path.realpath(path)).parts
    )


def leads_to(path: Path, targets: tuple[Path, ...]) -> bool:
    return os.path.realpath(path) in {os.path.realpath(target) for target in targets}


def dangles(path: Path) -> bool:
    """A link to what is gone, as after an environment was removed; nobody can use it."""
    return path.is_symlink() and not os.path.exists(path)


def of_unit(unit: Path) -> tuple[Path, ...]:
    """The command beside the interpreter that an installed unit starts; empty without one."""
    try:
        text = unit.read_text()
    except (OSError, UnicodeDecodeError):
        return ()
    found = re.search(r'^ExecStart=(?:"((?:[^"\\]|\\.)+)"|(\S+))', text, flags=re.MULTILINE)
    if found is None:
        return ()
    program = re.sub(r"\\(.)", r"\1", found[1] or found[2]).replace("%%", "%")
    return (Path(program).with_name("rekindle"),)
