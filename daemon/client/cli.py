"""Run the command line: find the verb's module, turn errors into text and exit codes.

Exit codes: 0 success, 1 the job failed or is held, or the system refused something, 2 wrong usage,
3 not found, 4 the home is unusable, 5 timed out.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rekindle.state.errors import RekindleError

# verb -> its line in `rekindle --help`; the module is `verbs/<verb>.py`, with `_` for `-`
VERBS: Final = {
    "run": "run the daemon",
    "submit": "submit a spec file or a script",
    "ls": "list jobs, each with its state and the reason",
    "show": "show everything about a job",
    "logs": "print the output of a job's script",
    "wait": "wait for jobs to end; exit code 0: done, 1: failed, held or cancelled",
    "stop": "save a job and hold it",
    "release": "let a held job continue",
    "cancel": "end a job for good; its files are kept",
    "pause": "start no more jobs; with --now also save and stop the running ones",
    "resume": "let a paused queue continue, or use a faulty GPU again",
    "priority": "change the order of queued jobs",
    "retry": "run a job again that ended or is held",
    "verify": "check ledger and checkpoints; --rebuild rebuilds the ledger",
    "verify-resume": "kill a job at random points, and compare its result with an undisturbed run",
    "doctor": "check host and home before the night; exit code 1: errors found",
    "prune": "show what could be removed; --yes removes it",
    "export-run": "write a job into one archive, to move it to another host",
    "import-run": "import a job from the archive of another host",
    "export": "write a job's model to a file that loads without rekindle",
    "install": "install the daemon as a systemd service",
    "uninstall": "remove the service; all data stays",
    "demo": "train, kill it twice, and compare with an undisturbed run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # after `--` come the script's arguments: `--json` there is not ours
    words, rest = _split(words)
    args = argparse.Namespace(home=None, rest=rest)
    try:
        # a default in the parser would overwrite a --home before the verb
        _parser(words).parse_args(words, args)
        return int(_module(args.verb).main(args))
    except RekindleError as error:
        _report(error)
        return error.exit_code
    except BrokenPipeError:
        # the reader has ended (`rekindle ls | head`): Python would print a traceback at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from rekindle.daemon import errors

        refused = errors.explain(error, _home(args))
        _report(refused)
        return refused.exit_code
    except KeyboardInterrupt:
        return 130


def _parser(words: list[str]) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the home (default: $REKINDLE_HOME, else that of a live daemon: yours, or the "
        "service's; `run`: that of this user)",
    )
    parser = argparse.ArgumentParser(
        prog="rekindle",
        parents=[common],
        description="Train Keras models overnight: a killed job is resumed, bit-identically.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, summary in VERBS.items():
        one = verbs.add_parser(
            verb, parents=[common], help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        # import only the verb that is called: `ls` must not wait for the imports of all
        if verb in words:
            _module(verb).add_arguments(one)
    return parser


def _report(error: RekindleError) -> None:
    if "JOURNAL_STREAM" in os.environ:
        from rekindle.daemon import log

        if log.under_journal() and log.refuse(error):
            return
    print(f"rekindle: {error}", file=sys.stderr)


def _home(args: argparse.Namespace) -> Path | None:
    from rekindle.daemon.client import lookup

    try:
        return lookup.choose(args.home).home.root
    except (OSError, RekindleError):
        return None  # the current folder was removed, or the user has no home folder


def _module(verb: str) -> Any:
    return importlib.import_module(f"rekindle.daemon.verbs.{verb.replace('-', '_')}")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


class _Version(argparse.Action):
    """Print the version, looked up on demand: the lookup is slow at each start."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        print(f"rekindle {_version()}")
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "(not installed)"
