"""Permissions in a home: check that a path exists, and explain how to get access."""

import grp
import os
import pwd
import stat
from pathlib import Path

from rekindle.state.accounts import user_name
from rekindle.state.errors import HomeClosed


def exists(path: Path, home: Path) -> bool:
    """Check that ``path`` exists.

    From Python 3.14 on, `Path.exists` is also False where the permission to look is missing.

    Raises:
        HomeClosed: the current user lacks permission to look.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise closed(error, path, home) from error
    return True


def closed(error: OSError, path: str | os.PathLike[str], home: Path) -> HomeClosed:
    """Build the error for a missing permission within ``home``."""
    return HomeClosed(
        f"User {user_name(os.geteuid())} lacks permission in the home: {error.strerror}.",
        where=path,
        hint=hint(home),
    )


def hint(home: Path) -> str:
    """Suggest how the current user gets permission in ``home``."""
    try:
        info = home.stat()
    except PermissionError:
        return (
            "A folder above the home is closed to this user: ask its owner for permission to "
            "enter it, or choose another home with --home or $REKINDLE_HOME."
        )
    except OSError:
        return "Choose another home with --home or $REKINDLE_HOME."
    me, group = os.geteuid(), info.st_gid
    user, named = user_name(me), group_name(group)
    if info.st_uid == me:
        return f"The home is yours, but its permissions were changed: chmod -R u+rwX {home}"
    if info.st_mode & stat.S_IXGRP and group not in {os.getegid(), *os.getgroups()}:
        if _is_listed(me, group):
            return (
                f"{user} is in the group {named} now, but logged in before that: log out and log "
                "in again."
            )
        return (
            f"The home belongs to the group {named}: ask root to run `usermod --append --groups "
            f"{named} {user}`, then log out and log in again; or choose another home with --home "
            "or $REKINDLE_HOME."
        )
    return f"Only the owner of the home may do that: sudo -u {user_name(info.st_uid)} rekindle ..."


def _is_listed(user: int, group: int) -> bool:
    """Check the host's accounts for the user in the group, whatever this login has."""
    try:
        account = pwd.getpwuid(user)
        return group in os.getgrouplist(account.pw_name, account.pw_gid)
    except (KeyError, OSError):
        return False


def group_name(gid: int) -> str:
    """Return the name of a group; the number if the host does not know it."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
