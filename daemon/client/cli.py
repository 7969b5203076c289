"""The command line: finds the verb's module, and turns errors into text and exit codes.

Exit codes: 0 fine, 1 the job failed or is held, or the system refused something, 2 wrong usage,
3 not found, 4 the home is unusable, 5 a time that was given is over.
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
    "submit": "hand in a spec file or a script",
    "ls": "list jobs, each with its state and the reason",
    "show": "tell everything about a job",
    "logs": "print what a job's script printed",
    "wait": "wait for a job to end; 0 done, 1 failed or held",
    "stop": "save a job and hold it",
    "release": "let a held job go on",
    "cancel": "end a job for good",
    "pause": "start nothing new; with --now also save and end what runs",
    "resume": "let a paused queue go on, or use a GPU again that was set aside",
    "priority": "let jobs go before or behind others",
    "retry": "run a job that ended again",
    "verify": "check ledger and checkpoints; --rebuild builds the ledger anew",
    "verify-resume": "kill a job of yours at random points, and compare the result",
    "doctor": "look at the box before the night; 1 where something will hurt",
    "prune": "show what could be removed; --yes removes it",
    "export-run": "write a job into one archive, for another box",
    "import-run": "take a job over from another box",
    "export": "write a job's model as a file that needs nothing of rekindle",
    "install": "make the daemon a systemd service",
    "uninstall": "take the service away; all data stays",
    "demo": "train, kill it twice, and compare with an undisturbed run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # all behind `--` belongs to the user's script, whatever it looks like
    words, rest = _split(words)
    args = argparse.Namespace(home=None, rest=rest)
    try:
        # a default in the parser would overwrite a --home that stands before the verb
        _parser(words).parse_args(words, args)
        return int(_module(args.verb).main(args))
    except RekindleError as error:
        _tell(error)
        return error.exit_code
    except BrokenPipeError:
        # the reader has gone (`rekindle ls | head`); python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from rekindle.daemon import errors

        refused = errors.explain(error, _home(args))
        _tell(refused)
        return refused.exit_code
    except KeyboardInterrupt:
        return 130


def _parser(words: list[str]) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the home (default: $REKINDLE_HOME, else the place for this user)",
    )
    parser = argparse.ArgumentParser(
        prog="rekindle",
        parents=[common],
        description="Trains Keras models overnight: whatever is killed goes on, bit-identical.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, summary in VERBS.items():
        one = verbs.add_parser(
            verb, parents=[common], help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        # only what is asked for is imported: `ls` must not wait for the rest
        if verb in words:
            _module(verb).add_arguments(one)
    return parser


def _tell(error: RekindleError) -> None:
    if "JOURNAL_STREAM" in os.environ:
        from rekindle.daemon import log

        if log.under_journal() and log.refuse(error):
            return
    print(f"rekindle: {error}", file=sys.stderr)


def _home(args: argparse.Namespace) -> Path | None:
    from rekindle.daemon.client import lookup

    try:
        return lookup.home(args).root
    except (OSError, RekindleError):
        return None  # the folder we are in is gone, or this user has none


def _module(verb: str) -> Any:
    return importlib.import_module(f"rekindle.daemon.verbs.{verb.replace('-', '_')}")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


class _Version(argparse.Action):
    """As argparse's own, but looks the version up only when it is asked for: that is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        print(f"rekindle {_version()}")
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rekindle")
    except PackageNotFoundError:
        return "(not installed)"
