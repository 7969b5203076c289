"""End the container of a job whose command is the client of a container engine.

A container is a child of the engine, not of `docker run`: it outlives a client that is killed, and
would write the run beside the next attempt. The client writes the container's id into a file before
it starts the container (`--cidfile`, added where the command has none); by that file the container
is ended with its client, and before the next attempt. Standard library only.
"""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rekindle.state.errors import RekindleError
from rekindle.state.paths import Run

ENGINES: Final = frozenset({"docker", "podman", "nerdctl"})
AT_END_S: Final = 30.0
"""Time for ending a container after its client, and that of an earlier attempt."""
AT_STOP_S: Final = 8.0
"""The same in a stop; less than what the daemon then waits for the keeper."""
_FLAG: Final = "--cidfile"
# options of an engine, before its command, whose value is the next word
_VALUED: Final = frozenset(
    [
        "-c",
        "--context",
        "--config",
        "-H",
        "--host",
        "-l",
        "--log-level",
        "--tlscacert",
        "--tlscert",
        "--tlskey",
        "--root",
        "--runroot",
        "--url",
        "--connection",
        "--identity",
        "--storage-driver",
        "--storage-opt",
        "--cgroup-manager",
        "--runtime",
        "--namespace",
        "-n",
        "--address",
        "-a",
        "--data-root",
        "--snapshotter",
    ]
)


# options of `run` without a value; any other has one, behind `=` or as the next word
_SWITCHES: Final = frozenset(
    [
        "-d",
        "-i",
        "-P",
        "-q",
        "-t",
        "--detach",
        "--disable-content-trust",
        "--env-host",
        "--http-proxy",
        "--init",
        "--interactive",
        "--no-healthcheck",
        "--no-hosts",
        "--oom-kill-disable",
        "--privileged",
        "--publish-all",
        "--quiet",
        "--read-only",
        "--read-only-tmpfs",
        "--replace",
        "--rm",
        "--rmi",
        "--sig-proxy",
        "--tls-verify",
        "--tty",
    ]
)
_ID: Final = re.compile("[0-9a-fA-F]*")


class ContainerNotEnded(RekindleError):
    """The container of an earlier attempt cannot be ended: no other may start beside it."""


class ContainerDetached(RekindleError):
    """The client has ended well and its container had not."""


@dataclass(frozen=True, slots=True)
class Client:
    """Describe a command that runs a container.

    Attributes:
        argv: the command line, with the file for the container's id.
        engine: the words before the engine's command, for further commands.
        cidfile: where the client writes the container's id.
        added: the option is ours.
        environ, workdir: of the client.
    """

    argv: list[str]
    engine: list[str]
    cidfile: Path
    added: bool
    environ: dict[str, str]
    workdir: str

    def end(self, seconds: float) -> bool:
        """Kill the container if it runs, and remove the file; return whether it ran.

        Raises:
            ContainerNotEnded: it may still run when the time is over.
        """
        try:
            found = self.cidfile.read_text().strip()
        except FileNotFoundError:
            return False
        if not _ID.fullmatch(found):
            return False  # somebody's file, and no container's id
        ran = False
        deadline = time.monotonic() + seconds
        while found:
            runs, why = self._look(found, deadline)
            if runs is False:
                break
            ran = ran or bool(runs)
            if time.monotonic() >= deadline:
                raise ContainerNotEnded(
                    f"The container {found[:12]} of the job may still run, and could not be ended: "
                    f"{why or 'it does not end'}.",
                    where=self.cidfile,
                    hint=f"End it: {' '.join([*self.engine, 'kill', found[:12]])}; then "
                    "`rekindle release JOB`.",
                )
            if runs:
                self._ask(["kill", found], deadline)
            time.sleep(0.1)
        # the engine refuses to start a container whose file exists
        self.cidfile.unlink(missing_ok=True)
        return ran

    def _look(self, container: str, deadline: float) -> tuple[bool | None, str]:
        """Return whether the container runs, None if the engine does not say, with the reason."""
        words = ["container", "inspect", "--format", "{{.State.Running}}", container]
        done = self._ask(words, deadline)
        if done is None:
            return None, f"{self.engine[0]} does not answer"
        if done.returncode == 0:
            return done.stdout.strip() == "true", ""
        said = done.stderr.strip()
        return (False, "") if "no such" in said.lower() else (None, said.partition("\n")[0])

    def _ask(self, words: list[str], deadline: float) -> "subprocess.CompletedProcess[str] | None":
        try:
            return subprocess.run(
                [*self.engine, *words],
                cwd=self.workdir if os.path.isdir(self.workdir) else None,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=max(deadline - time.monotonic(), 1.0),
            )
        except (OSError, subprocess.TimeoutExpired):
            return None


def client(argv: list[str], run: Run, environ: dict[str, str], workdir: str) -> Client | None:
    """Recognize a command that runs a container; None for any other."""
    at = _command(argv)
    if at is None:
        return None
    skip = _run_words(argv[at:])
    if not skip:
        return None
    options = at + skip
    named = _named(argv[options:])
    file = Path(workdir, named) if named else run.root / "container-id"
    added = [] if named else [f"{_FLAG}={file}"]
    return Client(
        [*argv[:options], *added, *argv[options:]], argv[:at], file, not named, environ, workdir
    )


def unseen(argv: list[str]) -> str | None:
    """Name the command of an engine whose containers cannot be ended with it, e.g. `compose`."""
    at = _command(argv)
    if at is None or at >= len(argv):
        return None
    return None if _run_words(argv[at:]) else f"{os.path.basename(argv[0])} {argv[at]}"


def _run_words(words: list[str]) -> int:
    """Count the words of the engine's command that runs a container; 0 for another command."""
    return 2 if words[:2] == ["container", "run"] else 1 if words[:1] == ["run"] else 0


def _command(argv: list[str]) -> int | None:
    """Find the engine's command behind its own options; None for another program."""
    if os.path.basename(argv[0]) not in ENGINES:
        return None
    at = 1
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in _VALUED else 1
    return at


def _named(options: list[str]) -> str:
    """Find the file that the command itself names; words behind the image are the container's."""
    at = 0
    while at < len(options) and options[at].startswith("-") and options[at] != "--":
        name, sign, value = options[at].partition("=")
        if name == _FLAG:
            return value if sign else "".join(options[at + 1 : at + 2])
        short = not name.startswith("--")
        alone = sign or name in _SWITCHES or (short and len(name) > 2)
        at += 1 if alone else 2
    return ""
