"""Define environment variables and exit codes between daemon, keeper, trainer and command jobs."""

from typing import Final

# environment of a job's process (the whole contract of a `command` job)
RUN_DIR: Final = "REKINDLE_RUN_DIR"
JOB: Final = "REKINDLE_JOB"
ATTEMPT: Final = "REKINDLE_ATTEMPT"
INITIAL_EPOCH: Final = "REKINDLE_INITIAL_EPOCH"
CHECKPOINT: Final = "REKINDLE_CHECKPOINT"
WARM_START: Final = "REKINDLE_WARM_START"
HEARTBEAT: Final = "REKINDLE_HEARTBEAT"
GPUS: Final = "REKINDLE_GPUS"
"""UUIDs of the attempt's GPUs, comma-separated; empty for none; not set on a host without GPUs.

``CUDA_VISIBLE_DEVICES`` gives the same to CUDA.
"""

# mark a process as one of a job's attempt; a person who sets one by hand does not set all of them
MARKS: Final = (RUN_DIR, JOB, ATTEMPT)
OF_A_JOB: Final = (*MARKS, INITIAL_EPOCH, CHECKPOINT, WARM_START, HEARTBEAT, GPUS)

# for `verify-resume`: the name of a checkpoint at which a training ends as if asked to stop
UNTIL: Final = "REKINDLE_UNTIL"

# from the daemon to the keeper: limit of one attempt's log in bytes, number of logs to keep
LOG_MAX_BYTES: Final = "REKINDLE_LOG_MAX_BYTES"
LOG_KEEP: Final = "REKINDLE_LOG_KEEP"

# from the daemon to the keeper: umask, in octal, of jobs whose spec has none
UMASK: Final = "REKINDLE_UMASK"

# from the daemon to the keeper: seconds of processor time after which training that is not
# followed is reported
UNFOLLOWED_AFTER: Final = "REKINDLE_UNFOLLOWED_AFTER"

# for verbs: the folder that has the service's record, instead of those of systemd; empty for none
RUNTIME_DIRECTORY: Final = "REKINDLE_RUNTIME_DIRECTORY"

# systemd would take messages of a user's process as those of the service
NOT_INHERITED: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    LOG_MAX_BYTES,
    LOG_KEEP,
    UMASK,
    UNFOLLOWED_AFTER,
)

# exit codes of a trainer
EXIT_DONE: Final = 0
EXIT_SAVED: Final = 75
"""Saved and can be resumed (EX_TEMPFAIL)."""
EXIT_PERMANENT: Final = 78
"""Permanent error, no retry: bad spec, bad script, no good checkpoint (EX_CONFIG)."""
