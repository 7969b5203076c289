"""Rights in a home: whether something is there, and what to tell somebody who is kept out."""

import grp
import os
import pwd
import stat
from pathlib import Path

from rekindle.state.errors import HomeClosed


def there(path: Path, home: Path) -> bool:
    """Whether ``path`` exists. `Path.exists` says no, from Python 3.14 on, also where one may
    not look.

    Raises:
        HomeClosed: this user may not look.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise closed(error, path, home) from error
    return True


def closed(error: OSError, path: str | os.PathLike[str], home: Path) -> HomeClosed:
    """What to raise where this user may not do something within ``home``."""
    return HomeClosed(
        f"This user may not do that in the home: {error.strerror}.", where=path, hint=hint(home)
    )


def hint(home: Path) -> str:
    """What somebody can do whom the rights of ``home`` keep out."""
    try:
        info = home.stat()
    except PermissionError:
        return (
            "A folder above the home is closed to this user: ask for the right to enter it, "
            "or name another home with --home or $REKINDLE_HOME."
        )
    except OSError:
        return "Choose another home with --home or $REKINDLE_HOME."
    me, group = os.geteuid(), info.st_gid
    if info.st_uid == me:
        return f"The home is yours, its rights are not as they were made: chmod -R u+rwX {home}"
    if info.st_mode & stat.S_IXGRP and group not in {os.getegid(), *os.getgroups()}:
        if _listed(me, group):
            return (
                f"{_user(me)} is in the group {_group(group)} by now, but logged in before "
                "that: log in anew."
            )
        return (
            f"The home is for the group {_group(group)}: ask root for `usermod --append "
            f"--groups {_group(group)} {_user(me)}`, and log in anew; or name another home "
            "with --home or $REKINDLE_HOME."
        )
    return f"Only the user who owns the home may do that: sudo -u {_user(info.st_uid)} rekindle ..."


def _listed(user: int, group: int) -> bool:
    """Whether the accounts of the box have the user in the group, whatever this login has."""
    try:
        account = pwd.getpwuid(user)
        return group in os.getgrouplist(account.pw_name, account.pw_gid)
    except (KeyError, OSError):
        return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
