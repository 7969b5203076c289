"""``rekindle verify-resume``: kill a job at random points, and compare the results."""

import argparse
import contextlib
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from rekindle.daemon.client import json_text, terminal
from rekindle.daemon.help.parser import SCRIPTS
from rekindle.daemon.intake import submit
from rekindle.daemon.spec import parse
from rekindle.daemon.submission import compose, options
from rekindle.daemon.verify_resume import gpu_facts, gpu_report, gpu_script, overlap, verify_resume
from rekindle.daemon.verify_resume.comparison import Difference
from rekindle.daemon.verify_resume.gpu_facts import GpuFacts
from rekindle.daemon.verify_resume.nondeterminism_scan import Suspect
from rekindle.daemon.verify_resume.repeated_steps import FirstDifference, RepeatedSteps
from rekindle.daemon.verify_resume.trial import Training
from rekindle.daemon.verify_resume.verify_resume import Answer, Question, Verdict
from rekindle.jobs import provenance, quantities
from rekindle.jobs.job import Job
from rekindle.state.counted import counted
from rekindle.state.errors import UsageError
from rekindle.state.paths import Home

_SHOWN: Final = 6
_DEFAULT_LIMIT: Final = "10 min"
_WAY_ON: Final = (
    "TensorFlow sees no GPU, so nothing was trained. `nvidia-smi` shows if the driver works; "
    "`pip install 'tensorflow[and-cuda]'` installs a TensorFlow for GPUs. To verify on the CPU: "
    "`rekindle verify-resume --gpu --cpu`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "rekindle verify-resume [--gpu [--cpu]] [--kills N] [--seed S] [--limit TIME] "
        "[--link PATH] [--keep] [--json] FILE [-- ARGUMENTS]"
    )
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="a spec (*.toml, *.yaml), a script (*.py) or a notebook (*.ipynb); with --gpu a small "
        "script is the default",
    )
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="verify on a GPU, and print a report to paste into an issue",
    )
    parser.add_argument(
        "--cpu", action="store_true", help="with --gpu: verify on the CPU if there is no GPU"
    )
    parser.add_argument(
        "--kills", type=int, default=5, metavar="N", help="number of kills (default: 5)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of the random points of the kills (default: 0)",
    )
    parser.add_argument(
        "--limit",
        default=_DEFAULT_LIMIT,
        metavar="TIME",
        help="the time to spend, roughly; of a longer job only its first part is compared; "
        f'"none": the whole job (default: {_DEFAULT_LIMIT})',
    )
    parser.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="PATH",
        help="read-only data below the job's folder: linked, not copied",
    )
    parser.add_argument("--python", metavar="PATH", help="the interpreter, for a script")
    parser.add_argument(
        "--keep", action="store_true", help="keep the trainings, with logs and checkpoints"
    )
    json_text.add_argument(parser, "print the answer as JSON")


def main(args: argparse.Namespace) -> int:
    if args.kills < 1:
        raise UsageError(
            f"--kills must be 1 or more, not {args.kills}.", hint="Write for example --kills 5."
        )
    if args.file is None and not args.gpu:
        raise UsageError(
            "No script or spec is named.",
            hint="Write for example `rekindle verify-resume train.py`.",
        )
    # with --json progress on standard output would break the JSON
    console = Console(highlight=False, stderr=True) if args.json else terminal.console()
    began = time.monotonic()
    status = contextlib.ExitStack()
    show = status.enter_context(terminal.doing("preparing", console))

    def report(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {escape(text)}")
        show(text.strip())

    home = Home(Path(tempfile.mkdtemp(prefix="rekindle-verify-")).resolve())
    home.create()
    try:
        job = _builtin(home, args) if args.file is None else _job(args.file, args)
        facts = _facts(job, report) if args.gpu else None
        if facts is not None and not facts.visible and not args.cpu:
            return _without_gpu(facts, args)
        if facts is not None and facts.visible:
            job = job.replace(resources=replace(job.resources, require_gpu=True))
        question = Question(job, args.kills, args.seed, _limit(args.limit), tuple(args.link))
        answer = verify_resume.find(question, home, report)
        status.close()
        text = ""
        if facts is not None:
            trial = _trial(args, answer)
            text = gpu_report.compose(facts, provenance.own_version(), trial)
        if args.json:
            seconds = time.monotonic() - began
            value = as_json(answer, question, seconds, home if args.keep else None)
            json_text.write({**value, **({"gpu_report": text} if text else {})})
        else:
            _Page(answer, question).print(console)
            if text:
                print(f"\n{text}")
    finally:
        status.close()
        if args.keep:
            print(f"rekindle: trainings kept in {home.root}", file=sys.stderr)
        else:
            with contextlib.suppress(OSError):
                shutil.rmtree(home.root)
    return 0 if answer.verdict is Verdict.IDENTICAL else 1


def _builtin(home: Home, args: argparse.Namespace) -> Job:
    """Write the small script, and make a job of it."""
    folder = home.root / "gpu-trial"
    folder.mkdir()
    return _job(gpu_script.write(folder), args)


def _facts(job: Job, report: Callable[[str], None]) -> GpuFacts:
    report("asking NVML and TensorFlow about the GPUs")
    return gpu_facts.collect(job.python or sys.executable, job.env)


def _without_gpu(facts: GpuFacts, args: argparse.Namespace) -> int:
    """Print the report of a host where there is nothing to verify on."""
    trial = [("trial", "not run: TensorFlow sees no GPU")]
    text = gpu_report.compose(facts, provenance.own_version(), trial)
    if args.json:
        json_text.write({"verdict": None, "gpu_report": text})
    else:
        print(f"\n{text}")
    print(f"rekindle: {_WAY_ON}", file=sys.stderr)
    return 1


def _trial(args: argparse.Namespace, answer: Answer) -> list[tuple[str, str]]:
    """List what the trial showed, for the report."""
    what = "small script of rekindle" if args.file is None else "a job of the user"
    rows = [("trial", f"{what}; seed {args.seed}"), ("result", str(answer.verdict))]
    rows.append(("", summary(answer)))
    rows += [("differs", _in_words(one)) for one in answer.differences[:_SHOWN]]
    rows += [("not exact", text) for text in answer.inexact]
    rows += [("kill", hit) for hit in answer.killed.hits]
    return rows


def _job(file: Path, args: argparse.Namespace) -> Job:
    """Resolve the job of the file as the daemon would."""
    if file.suffix in SCRIPTS:
        given = {} if args.python is None else {"python": options.absolute(args.python)}
        made = compose.for_file(file, args=args.rest, given=given)
        job = made.job
        if not args.json:
            for note in made.notes:
                print(f"rekindle: {note}", file=sys.stderr)
        _name_point(job, args)
        # without a spec: the script needs the files of its own folder, not of the current one
        return job.replace(workdir=str(file.absolute().parent))
    if args.rest or args.python:
        raise UsageError(
            "--python and arguments after `--` are for scripts only.",
            where=file,
            hint="Set `python` and `args` in the spec.",
        )
    filename, data = submit.spec_from_file(file)
    job = parse.parse(data, filename, file.absolute().parent)
    _name_point(job, args)
    if job.command is not None:
        raise UsageError(
            "The job is a command: rekindle cannot see the training inside it.",
            where=file,
            hint="Use `script` or `module` instead of `command` in the spec.",
        )
    return job


def _name_point(job: Job, args: argparse.Namespace) -> None:
    """Say which job of a grid is tried."""
    if job.grid is not None and not args.json:
        words = " ".join(job.args)
        print(
            f"rekindle: Of the {job.grid.of} points of the grid the first is tried: {words}",
            file=sys.stderr,
        )


def _limit(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return quantities.seconds(text)
    except ValueError as error:
        raise UsageError(
            f"--limit: {error}.", hint='Write for example --limit "10 min", or --limit none.'
        ) from error


def as_json(
    answer: Answer, question: Question, seconds: float, home: Home | None
) -> dict[str, Any]:
    """Return the answer in the shape that docs/json.md describes."""
    end = answer.undisturbed.end
    return {
        "verdict": str(answer.verdict),
        "summary": summary(answer),
        "job": question.job.name,
        "seed": question.seed,
        "seconds": round(seconds, 3),
        "compared": {
            "arrays": answer.arrays,
            "epochs": answer.epochs,
            "steps": answer.undisturbed.steps,
            "whole": end is None,
            "until": None if end is None else end.name,
        },
        "kills": answer.killed.hits,
        "repeated": _repeated_json(answer.killed.repeated),
        "overlap": overlap.as_json(answer.overlap),
        "resumed": len(answer.killed.resumed),
        "resumed_in_mid_epoch": answer.killed.in_mid_epoch,
        "differences": [_difference(d) for d in answer.differences],
        "noted": [_difference(d) for d in answer.noted],
        "suspects": [
            {
                "kind": s.kind,
                "file": s.file,
                "line": s.line,
                "code": s.code,
                "why": s.why,
                "fix": s.fix,
            }
            for s in answer.suspects
        ],
        "inexact": answer.inexact,
        "failure": {
            key: answer.killed.failure.get(key)
            for key in ("attempt", "cause", "error_type", "message")
        }
        if answer.killed.failure
        else None,
        "kept_in": None if home is None else str(home.root),
    }


def _repeated_json(found: RepeatedSteps) -> dict[str, Any]:
    return {
        "compared": found.steps,
        "epoch_start": found.epoch_start,
        "first_difference": None if found.first is None else dataclasses.asdict(found.first),
    }


def _difference(found: Difference) -> dict[str, str]:
    return {
        "kind": found.kind,
        "name": found.name,
        "detail": found.detail,
        "checkpoint": found.checkpoint,
    }


def _where(first: FirstDifference | None) -> str:
    return "" if first is None else f" It began at {first}."


def summary(answer: Answer) -> str:
    """Summarise the answer in one or two sentences."""
    killed = answer.killed
    first = answer.differences[0] if answer.differences else None
    if answer.verdict is Verdict.IDENTICAL:
        return (
            f"Killed {counted(len(killed.hits), 'time')} and bit-identical: "
            f"{counted(answer.arrays, 'array')} of the final state and the metrics of "
            f"{counted(answer.epochs, 'epoch')}."
        )
    if answer.verdict is Verdict.SCRIPT_DIFFERS:
        assert first is not None
        return (
            "The script is not deterministic, even undisturbed: the first difference is "
            f"{_in_words(first)}. A resume cannot be exact before the script is deterministic."
        )
    if answer.verdict is Verdict.RESUME_DIFFERS:
        assert first is not None
        return (
            "The script is deterministic undisturbed, but its result after kills differs: "
            f"the first difference is {_in_words(first)}." + _where(killed.repeated.first)
        )
    if answer.verdict is Verdict.RESUME_FAILED:
        return (
            f"Attempt {killed.failure.get('attempt')} failed to resume: "
            f"{killed.failure.get('error_type') or killed.failure.get('cause')}: "
            f"{killed.failure.get('message')}"
        )
    return (
        "The results are equal, but no attempt resumed from a checkpoint above step 0, so "
        "nothing is proven: the job is too short, or has too few kills (--kills)."
    )


def _in_words(found: Difference) -> str:
    kinds = {
        "variable": "the variable ",
        "file": "the file ",
        "callback": "the callback's ",
        "epoch": "",
        "random": "",
        "state": "the ",
    }
    return f"{kinds[found.kind]}{found.name} ({found.detail})"


class _Page:
    """Print the answer for a person."""

    def __init__(self, answer: Answer, question: Question) -> None:
        self._answer = answer
        self._question = question

    def print(self, console: Console) -> None:
        answer, killed = self._answer, self._answer.killed
        console.print()
        identical = answer.verdict is Verdict.IDENTICAL
        style = (
            "bold green"
            if identical
            else ("bold yellow" if answer.verdict is Verdict.NOT_PROVEN else "bold red")
        )
        console.print(f"[{style}]{answer.verdict.upper()}[/] {escape(summary(answer))}")
        console.print(
            f"  {counted(len(killed.hits), 'kill')}; "
            f"{counted(len(killed.resumed), 'attempt')} resumed from a checkpoint, "
            f"{killed.in_mid_epoch} of them in mid-epoch; "
            f"{_repeated(killed)} of {counted(answer.undisturbed.steps, 'step')} repeated"
        )
        console.print(f"  {escape(str(killed.repeated))}")
        if answer.overlap is not None:
            console.print(f"  {escape(str(answer.overlap))}")
        end = answer.undisturbed.end
        if end is not None:
            console.print(
                f"  compared up to epoch {end.epoch}, step {end.step} only, and without files: the "
                "whole job takes longer than --limit (--limit none compares all)"
            )
        self._print_differences(console, "Differs", answer.differences)
        self._print_differences(console, "Differs also undisturbed", answer.noted)
        for text in answer.inexact:
            console.print(f"  [yellow]not exact:[/] {escape(text)}")
        if not identical or answer.noted:
            self._print_suspects(console, answer.suspects)
        if answer.killed.failure.get("traceback"):
            console.print(escape(str(answer.killed.failure["traceback"])), style="dim")

    def _print_differences(self, console: Console, title: str, found: Sequence[Difference]) -> None:
        if not found:
            return
        table = terminal.table(title, "", "how", "at")
        for difference in found[:_SHOWN]:
            table.add_row(
                difference.kind,
                escape(difference.name),
                escape(difference.detail),
                difference.checkpoint,
            )
        console.print(table)
        if len(found) > _SHOWN:
            console.print(f"[dim]and {len(found) - _SHOWN} more: --json lists all[/]")

    def _print_suspects(self, console: Console, found: Sequence[Suspect]) -> None:
        if not found:
            if self._answer.differences:
                console.print(
                    "No cause was found in the script. Sums over several threads may differ: "
                    'set `env = { TF_DETERMINISTIC_OPS = "1" }` in the spec.'
                )
            return
        console.print("[bold]Possible causes[/]")
        for suspect in found[:_SHOWN]:
            where = f"{suspect.file}:{suspect.line}" if suspect.line else suspect.file
            console.print(f"  [cyan]{escape(where)}[/] {escape(suspect.code)}")
            console.print(f"    {escape(suspect.why)} {escape(suspect.fix)}")


def _repeated(training: Training) -> int:
    return sum(receipt.get("lost_steps") or 0 for receipt in training.receipts)
