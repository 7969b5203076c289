"""Deliver one message, in a process of its own: ``python -m rekindle.daemon.notify.sender``.

It reads the task as JSON on standard input and writes the result as JSON. The daemon neither
imports apprise, which would stay in its memory, nor waits for a network. Secrets are in no
argument list, and what is reported is masked.
"""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any, Final

from rekindle.daemon import extras
from rekindle.daemon.notify import night
from rekindle.daemon.notify.targets import mask
from rekindle.state.errors import RekindleError

_COMMAND_S: Final = 60.0
_PING_S: Final = 20.0
_LONGEST: Final = 300


def main() -> int:
    task = json.loads(sys.stdin.buffer.read())
    failed = {}
    value = night.completed(task["json"]) if task["targets"] else {}
    task = {**task, "json": value, "body": value.get("text", "")}
    for target in task["targets"]:
        url = target["url"]
        try:
            problem = _run(task["command"], task["json"]) if not url else _notify(url, task)
        except RekindleError as error:
            problem = f"{error.what} {error.hint}"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            failed[target["id"]] = " ".join(mask(problem, url).split())[:_LONGEST]
    if task.get("ping"):
        problem = _ping(task["ping"])
        if problem is not None:
            failed["ping"] = mask(problem, task["ping"])[:_LONGEST]
    print(json.dumps({"failed": failed}))
    return 0


def _notify(url: str, task: dict[str, Any]) -> str | None:
    """Send by apprise; return why it failed, None for success."""
    try:
        import apprise
    except ImportError:
        raise extras.missing("Notifications by URL", "apprise", "notify") from None
    asset = apprise.AppriseAsset(app_id="rekindle", app_desc="rekindle", async_mode=False)
    sender = apprise.Apprise(asset=asset)
    with apprise.LogCapture(level=apprise.logging.DEBUG, fmt="%(levelname)s %(message)s") as said:
        if not sender.add(url):
            return "apprise does not know this kind of URL, or a part of it is missing."
        done = sender.notify(
            title=task["title"], body=task["body"], body_format=apprise.NotifyFormat.TEXT
        )
        return None if done else _reason(said.getvalue())


def _reason(said: str) -> str:
    """Find in what apprise has logged why it failed."""
    lines = [
        re.sub(r"^[A-Z]+ ", "", line)
        for line in said.splitlines()
        if line.startswith(("WARNING", "ERROR")) or "Exception" in line
    ]
    return " ".join(lines) or "it was not delivered."


def _run(command: list[str], value: dict[str, Any]) -> str | None:
    """Run the command with the message on its standard input."""
    try:
        done = subprocess.run(
            command,
            input=json.dumps(value) + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {_COMMAND_S:.0f} s."
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}."
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or ["it printed no error"])[-1]
    return f"{command[0]} ended with exit code {done.returncode}: {last}"


def _ping(url: str) -> str | None:
    """Call the dead-man URL."""
    try:
        with urllib.request.urlopen(url, timeout=_PING_S):  # noqa: S310  http(s), checked before
            return None
    except (OSError, ValueError, urllib.error.URLError) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
