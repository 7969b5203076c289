"""Run the command line: find the verb's module, turn errors into text and exit codes.

Exit codes: 0 success, 1 the job failed or is held, or the system refused something, 2 wrong usage,
3 not found, 4 the home is unusable, 5 timed out. With ``--json`` an error is printed as JSON.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from rekindle.state.errors import RekindleError, UsageError
from rekindle.state.hints import name_home

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
    args = argparse.Namespace(home=None, rest=rest, json=_asks_for_json(words))
    _print_any_character()
    try:
        # a default in the parser would overwrite a --home before the verb
        _parser(words).parse_args(words, args)
        return int(_module(args.verb).main(args))
    except RekindleError as error:
        _report(error, args)
        return error.exit_code
    except BrokenPipeError:
        # the reader has ended (`rekindle ls | head`): Python would print a traceback at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from rekindle.daemon import errors

        refused = errors.explain(error, _home(args))
        _report(refused, args)
        return refused.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not args.json:
            raise
        from rekindle.daemon import errors

        unexpected = errors.unexpected(error)
        _report(unexpected, args)
        return unexpected.exit_code


def _parser(words: list[str]) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the home (default: $REKINDLE_HOME, else that of a live daemon: yours, or the "
        "service's; `run`: that of this user)",
    )
    kind = _JsonParser if _asks_for_json(words) else argparse.ArgumentParser
    parser = kind(
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


class _JsonParser(argparse.ArgumentParser):
    """Report wrong usage as every other error, so that it is printed as JSON."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", hint=self.format_usage().strip())


def _asks_for_json(words: list[str]) -> bool:
    """Return whether ``--json``, or what argparse takes for it, is among the words of a verb."""
    return any(len(word) > 2 and "--json".startswith(word) for word in words)


def _print_any_character() -> None:
    """Escape what the encoding of the output does not have: it must not end a verb."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(error: RekindleError, args: argparse.Namespace) -> None:
    if args.json:
        from rekindle.daemon.client import json_text

        json_text.write_error(error)
        return
    if "JOURNAL_STREAM" in os.environ:
        from rekindle.daemon import log

        if log.under_journal() and log.refuse(error):
            return
    print(f"rekindle: {name_home(str(error), args.home)}", file=sys.stderr)


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
    from rekindle.jobs import provenance

    return provenance.version("rekindle") or "(not installed)"
