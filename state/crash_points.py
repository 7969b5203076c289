"""Name every commit point of daemon, keeper and trainer, so that tests can kill a process there.

Promises about crashes cover the instants between two durable steps. The test that covers all
of them sets ``REKINDLE_CRASH_POINT=<name>@<file>``: the first process that reaches the point
writes its pid into the file and kills itself; with ``<name>#<n>`` it does so the n-th time. Without
the variable nothing happens.
"""

import itertools
import os
import signal
from typing import Final

VARIABLE: Final = "REKINDLE_CRASH_POINT"

INBOX: Final = (
    "before_claim",
    "claimed",
    "before_accept",
    "grids_decided",
    "run_named",
    "accepted",
    "known",
    "finished",
    "explained",
    "refused",
)
DAEMON: Final = (
    "attempt_begun",
    "keeper_spawned",
    "journal_ingested",
    "before_settle",
    "settled",
    "wish_noted",
    "request_answered",
    "request_removed",
)
KEEPER: Final = (
    "keeper_entered",
    "trainer_spawned",
    "attempt_recorded",
    "trainer_ended",
    "leftovers_ended",
    "end_recorded",
)
CHECKPOINT: Final = (
    "before_write",
    "before_digest",
    "before_manifest",
    "before_rename",
    "before_folder_fsync",
)
HANDOVER: Final = ("snapshot_received",)
SPARE: Final = ("spare_asked", "spare_agreed", "spare_taken", "spare_told", "spare_begins")
NEW_CODE: Final = ("code_noted", "code_committed", "code_linked")
FORK: Final = ("fork_prepared", "fork_accepted")
POINTS: Final = (*INBOX, *DAEMON, *KEEPER, *CHECKPOINT, *HANDOVER, *SPARE, *NEW_CODE, *FORK)

_PLACE, _, _ONCE = os.environ.get(VARIABLE, "").partition("@")
_WANTED, _, _TIMES = _PLACE.partition("#")
_counts = itertools.count(1)


def reached(name: str) -> None:
    """Mark that the step before ``name`` is durable and the next one has not begun."""
    if name == _WANTED and next(_counts) >= int(_TIMES or 1):
        try:
            once = os.open(_ONCE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        os.write(once, b"%d" % os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
