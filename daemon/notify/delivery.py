"""Start the process that delivers a message, and wait for its answer: in a thread."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from rekindle.daemon.notify.targets import Target
from rekindle.jobs import bootstrap

LIMIT_S: Final = 180.0
_TAIL: Final = 300


def deliver(
    targets: Sequence[Target],
    value: dict[str, Any],
    *,
    command: Sequence[str] = (),
    ping: str | None = None,
) -> dict[str, str]:
    """Deliver a message; return why it failed, by target.

    Args:
        value: the message as a command gets it.
        ping: a URL to call beside it.
    """
    task = {
        "targets": [{"id": one.id, "url": one.url} for one in targets],
        "title": value.get("title", ""),
        "json": value,
        "command": list(command),
        "ping": ping,
    }
    wanted = [one.id for one in targets] + (["ping"] if ping else [])
    try:
        done = subprocess.run(
            bootstrap.command(sys.executable, "rekindle.daemon.notify.sender", options=("-P",)),
            input=json.dumps(task).encode(),
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        failed = json.loads(done.stdout)["failed"]
        return {one: str(failed[one]) for one in wanted if one in failed}
    except subprocess.TimeoutExpired:
        problem = f"no answer within {LIMIT_S:.0f} s."
    except (OSError, ValueError, KeyError, TypeError) as error:
        # what the process printed may hold secrets: only its kind is reported
        problem = f"the process that sends ended without an answer ({type(error).__name__})."
    return dict.fromkeys(wanted, problem)
