"""Every environment variable and exit code between daemon, keeper, trainer and command jobs."""

from typing import Final

# what a job's process finds in its environment (the whole contract of a `command` job)
RUN_DIR: Final = "REKINDLE_RUN_DIR"
JOB: Final = "REKINDLE_JOB"
ATTEMPT: Final = "REKINDLE_ATTEMPT"
INITIAL_EPOCH: Final = "REKINDLE_INITIAL_EPOCH"
CHECKPOINT: Final = "REKINDLE_CHECKPOINT"
WARM_START: Final = "REKINDLE_WARM_START"
HEARTBEAT: Final = "REKINDLE_HEARTBEAT"
GPUS: Final = "REKINDLE_GPUS"
"""UUIDs of the GPUs that the attempt holds, with commas; empty for none. Not set on a box that
has no GPUs. ``CUDA_VISIBLE_DEVICES`` says the same to CUDA."""

# what marks a process as one of a job's attempt; a person who sets one by hand has not all of them
MARKS: Final = (RUN_DIR, JOB, ATTEMPT)
OF_A_JOB: Final = (*MARKS, INITIAL_EPOCH, CHECKPOINT, WARM_START, HEARTBEAT, GPUS)

# for `verify-resume`: the name of a checkpoint at which a training ends as if it was told to
UNTIL: Final = "REKINDLE_UNTIL"

# from the daemon to the keeper: bytes of one attempt's log, and logs of how many attempts
LOG_MAX_BYTES: Final = "REKINDLE_LOG_MAX_BYTES"
LOG_KEEP: Final = "REKINDLE_LOG_KEEP"

# from the daemon to the keeper: seconds of processor time after which an attempt in which no
# training is followed is reported
UNFOLLOWED_AFTER: Final = "REKINDLE_UNFOLLOWED_AFTER"

# a user's process must not speak for the service: systemd would take its messages as ours
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
    UNFOLLOWED_AFTER,
)

# exit codes of a trainer
EXIT_DONE: Final = 0
EXIT_SAVED: Final = 75
"""Saved and wants to go on (EX_TEMPFAIL)."""
EXIT_PERMANENT: Final = 78
"""Trying again cannot help: bad spec, bad script, no good checkpoint (EX_CONFIG)."""
