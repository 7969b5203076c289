"""Look up user names, without waiting for a directory service.

Accounts may come from LDAP over the network. The daemon's loop asks for a name when it accepts a
spec or a request, and must not wait there for a server that does not respond.
"""

import pwd
import threading
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 0.25
"""Longest wait for a name that is asked for the first time."""


class Names:
    """Look up the names of users in threads, and remember those that were found.

    Args:
        look: returns the name of a user. Raises KeyError, OverflowError or OSError for none.
    """

    def __init__(self, look: Callable[[int], str]) -> None:
        self._look = look
        self._known: dict[int, str] = {}
        self._asked: set[int] = set()
        self._lock = threading.Lock()

    def name(self, uid: int, wait: float = WAIT_S) -> str:
        """Return the name of a user; the number if it is unknown, or not found in time.

        A name that comes later is returned by later calls. A user whom the host does not know is
        looked up again, since an account may be added.

        Args:
            wait: longest wait in seconds; none while an earlier call for this user is unanswered.
        """
        with self._lock:
            known = self._known.get(uid)
            if known is not None or uid in self._asked:
                return known or str(uid)
            self._asked.add(uid)
        thread = threading.Thread(target=self._ask, args=(uid,), name="user name", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: the number is exact, too
            self._asked.discard(uid)
            return str(uid)
        thread.join(wait)
        with self._lock:
            return self._known.get(uid) or str(uid)

    def _ask(self, uid: int) -> None:
        found = ""
        try:
            found = self._look(uid)
        except (KeyError, OverflowError, OSError):
            pass
        finally:
            with self._lock:
                self._asked.discard(uid)
                if found:
                    self._known[uid] = found


_NAMES: Final = Names(lambda uid: pwd.getpwuid(uid).pw_name)


def user_name(uid: int) -> str:
    """Return the name of a user; the number if the host does not know it, or not in time."""
    return _NAMES.name(uid)
