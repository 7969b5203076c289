"""Define environment variables and exit codes between daemon, keeper, trainer and command jobs."""

from typing import Final

# of a job's process; the whole contract of a `command` job
RUN_DIR: Final = "REKINDLE_RUN_DIR"
"""The job's run directory."""
JOB: Final = "REKINDLE_JOB"
"""The job's id."""
ATTEMPT: Final = "REKINDLE_ATTEMPT"
"""The number of this attempt, from 1."""
INITIAL_EPOCH: Final = "REKINDLE_INITIAL_EPOCH"
"""Epochs that are finished; 0 at first. Of a `command` only."""
CHECKPOINT: Final = "REKINDLE_CHECKPOINT"
"""Path of the newest good checkpoint; empty at first. Of a `command` only."""
WARM_START: Final = "REKINDLE_WARM_START"
"""With `warm_start`: a folder with the other job's checkpoint and `source.json`."""
HEARTBEAT: Final = "REKINDLE_HEARTBEAT"
"""A file; touch it as a sign of life."""
GPUS: Final = "REKINDLE_GPUS"
"""UUIDs of the attempt's GPUs, comma-separated; empty for none; not set on a host without GPUs.
`CUDA_VISIBLE_DEVICES` gives the same to CUDA.
"""

# mark a process as one of a job's attempt; a person who sets one by hand does not set all of them
MARKS: Final = (RUN_DIR, JOB, ATTEMPT)
OF_A_JOB: Final = (*MARKS, INITIAL_EPOCH, CHECKPOINT, WARM_START, HEARTBEAT, GPUS)

UNTIL: Final = "REKINDLE_UNTIL"
"""From `verify-resume`: the checkpoint at which a training ends as if asked to stop."""

BEGAN: Final = "REKINDLE_BEGAN"
"""From the keeper to the trainer: when the attempt began, in seconds of the monotonic clock."""
LATE: Final = (BEGAN,)
"""Variables that a warm spare is given with its attempt."""

# from the daemon to the keeper
LOG_MAX_BYTES: Final = "REKINDLE_LOG_MAX_BYTES"
"""Limit of one attempt's log (bytes)."""
LOG_KEEP: Final = "REKINDLE_LOG_KEEP"
"""Number of logs to keep."""
UMASK: Final = "REKINDLE_UMASK"
"""Umask, in octal, of jobs whose spec has none."""
UNFOLLOWED_AFTER: Final = "REKINDLE_UNFOLLOWED_AFTER"
"""Seconds of processor time after which training that is not followed is reported."""

RUNTIME_DIRECTORY: Final = "REKINDLE_RUNTIME_DIRECTORY"
"""For verbs: the folder with the service's record, instead of those of systemd; empty: none."""

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
    BEGAN,
)

# exit codes of a trainer
EXIT_DONE: Final = 0
EXIT_SAVED: Final = 75
"""Saved and can be resumed (EX_TEMPFAIL)."""
EXIT_PERMANENT: Final = 78
"""Permanent error, no retry: bad spec, bad script, no good checkpoint (EX_CONFIG)."""
