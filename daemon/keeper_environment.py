"""Build the environment of keepers."""

import os
from collections.abc import Sequence

from rekindle.jobs import environment


def environment_of_keeper(gpus: Sequence[str] | None) -> dict[str, str]:
    """Build the environment of a keeper.

    Args:
        gpus: UUIDs of the GPUs of the attempt; None on a host without GPUs.
    """
    # a daemon that was started inside a job must not pass on the marks of that job
    env = {key: value for key, value in os.environ.items() if key not in environment.OF_A_JOB}
    return env if gpus is None else {**env, environment.GPUS: ",".join(gpus)}
