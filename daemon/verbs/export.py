"""``rekindle export``: write a job's model to a file that loads without rekindle."""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rekindle.daemon import checkpoint_choice
from rekindle.daemon.client import json_text, lookup, terminal
from rekindle.jobs import bootstrap
from rekindle.jobs.job import Job
from rekindle.state.counted import counted
from rekindle.state.errors import NotFound, RekindleError, UsageError
from rekindle.state.paths import Run
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Checkpoint

# the longest ending first: `.weights.h5` is not `.h5`
FORMATS: Final = {
    ".weights.h5": "h5",
    ".safetensors": "safetensors",
    ".keras": "keras",
    ".json": "json",
    ".ckpt": "tf",
}
_ENDINGS: Final = (
    ".keras, .weights.h5, .safetensors, .json (the architecture), .ckpt (a "
    "TensorFlow checkpoint), or a folder for one of these"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    lookup.add_job(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="FILE",
        help=f"the ending is the format: {_ENDINGS}; may contain {{epoch:04d}} and metrics, "
        "as in ModelCheckpoint",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", action="store_true", help="the newest checkpoint (default)")
    which.add_argument(
        "--best", action="store_true", help="the best checkpoint by the spec's monitor"
    )
    which.add_argument("--epoch", type=int, metavar="N", help="the checkpoint after N epochs")
    parser.add_argument(
        "--model", metavar="LABEL", help="which model, if a loop of the script trains several"
    )
    parser.add_argument(
        "--ema",
        action="store_true",
        help="the averages of the weights that the optimizer keeps (use_ema)",
    )
    parser.add_argument(
        "--run-script",
        action="store_true",
        help="run the job's script up to its training, for models with custom classes; "
        "everything before the training is executed, as in each attempt",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    json_text.add_argument(parser)


def main(args: argparse.Namespace) -> int:
    place = lookup.home(args)
    book = lookup.ledger(place)
    try:
        run = place.run(lookup.job(book, args.job).id)
    finally:
        book.close()
    job = _accepted(run)
    with _held(run, args) as (shadow, checkpoint):
        logs = checkpoint_choice.logs(run, checkpoint)
        kind, target = _target(args.to, checkpoint.position.epoch, logs)
        if not args.force:
            _refuse_existing(kind, target)
        order = {
            "run": str(run.root),
            "shadow": str(shadow),
            "checkpoint": str(checkpoint.state),
            "name": checkpoint.name,
            "job": run.id,
            "stage": checkpoint.position.stage,
            "model": f"model.{args.model}" if args.model else "model",
            "format": kind,
            "to": str(target),
            "force": args.force,
            "ema": args.ema,
            "run_script": args.run_script,
            "answer": str(shadow / "answer.json"),
        }
        with terminal.doing(
            f"writing {checkpoint.name} of {run.id} as {kind}, in the job's own Python"
        ):
            made = _carry_out(order, job, shadow)
    at = checkpoint.position
    if args.json:
        json_text.write(
            {
                "job": run.id,
                "checkpoint": checkpoint.name,
                "epoch": at.epoch,
                "step": at.step,
                "logs": logs,
                "format": kind,
                "file": made,
            }
        )
    else:
        facts = [
            checkpoint.name,
            *(f"{name} {terminal.number(value)}" for name, value in logs.items()),
        ]
        print(f"{run.id} after {counted(at.epoch, 'epoch')} ({', '.join(facts)})\n{made}")
    return 0


def _accepted(run: Run) -> Job:
    try:
        return Job.read(run.job_file)
    except OSError as error:
        raise NotFound(
            f"Cannot read the run directory: {error.strerror}.",
            where=run.root,
            hint="Export as the user of the daemon that ran the job.",
        ) from error


@contextlib.contextmanager
def _held(run: Run, args: argparse.Namespace) -> Iterator[tuple[Path, Checkpoint]]:
    """Link the chosen checkpoint under a second name: a running training may prune the first."""
    try:
        run.exports.mkdir(exist_ok=True)
        shadow = Path(tempfile.mkdtemp(prefix=".tmp-", dir=run.exports))
    except OSError:
        shadow = Path(tempfile.mkdtemp(prefix="rekindle-export-"))
    try:
        for _ in range(5):
            chosen = (
                checkpoint_choice.best(run)
                if args.best
                else checkpoint_choice.after_epoch(run, args.epoch)
                if args.epoch is not None
                else checkpoint_choice.last(run)
            )
            wanted = [
                chosen,
                *(
                    c
                    for c in checkpoints.scan(run.checkpoints)
                    if args.run_script and c.position.end and c.position < chosen.position
                ),
            ]
            try:
                held = [_link(one, shadow / "checkpoints") for one in wanted]
                break
            except FileNotFoundError:
                continue  # the training pruned it meanwhile: choose again
        else:
            raise NotFound(
                "Each chosen checkpoint was pruned before it could be linked.",
                where=run.root,
                hint=f"Export again; `rekindle show {run.id}` lists the checkpoints.",
            )
        yield shadow, held[0]
    finally:
        shutil.rmtree(shadow, ignore_errors=True)


def _link(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    to = folder / checkpoint.name
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for file in checkpoint.path.iterdir():
        try:
            os.link(file, to / file.name)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or a file of another user
            shutil.copyfile(file, to / file.name)
    return Checkpoint(to, checkpoint.position)


def _target(to: str, epoch: int, logs: dict[str, Any]) -> tuple[str, Path]:
    """Find the format, and the file or the prefix of a TensorFlow checkpoint.

    Raises:
        UsageError: the ending is none of the known ones, and the path is no folder.
    """
    try:
        # numbers only: a string of the script could lead to another folder
        numbers = {k: v for k, v in logs.items() if isinstance(v, int | float)}
        named = to.format(**{**numbers, "epoch": epoch})
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UsageError(
            f"The pattern of the file name is invalid: {error}.",
            where=to,
            hint=f"Use only {{epoch:04d}} and: {', '.join(logs) or 'no metric'}.",
        ) from error
    try:
        path = Path(named).expanduser().absolute()
    except RuntimeError:
        raise UsageError(
            "The user after ~ has no home folder.", where=named, hint="Write the absolute path."
        ) from None
    if named.endswith("/") or path.is_dir():
        return "tf", path / f"cp-{epoch:04d}.ckpt"
    for ending, kind in FORMATS.items():
        if path.name.endswith(ending) and path.name != ending:
            return kind, path
    raise UsageError(
        "The file's ending is no known format.", where=path, hint=f"Use one of: {_ENDINGS}."
    )


def _refuse_existing(kind: str, target: Path) -> None:
    """Refuse an existing file before the work; the exporter checks again at its rename."""
    existing = target.with_name(f"{target.name}.index") if kind == "tf" else target
    if os.path.lexists(existing):
        raise UsageError(
            "The file exists already.",
            where=existing,
            hint="Name another file, or replace this one with --force.",
        )


def _carry_out(order: dict[str, Any], job: Job, shadow: Path) -> str:
    """Run the exporter in the job's interpreter; return the name of the file it wrote."""
    paper = shadow / "order.json"
    paper.write_text(json.dumps(order))
    answer = Path(order["answer"])
    env = {
        **os.environ,
        "PYTHONHASHSEED": str(job.seed % 2**32),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # an export on a GPU would take memory from a training
        **job.env,
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    log = shadow / "log"
    with log.open("wb") as output:
        ran = subprocess.run(
            bootstrap.command(
                job.python or sys.executable, "rekindle.jobs.export.main", str(paper)
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            check=False,
            cwd=job.workdir if order["run_script"] else shadow,
        )
    said = log.read_text(errors="replace").splitlines()
    try:
        value = json.loads(answer.read_text())
    except (OSError, ValueError):
        raise UsageError(
            f"The export failed with exit code {ran.returncode}: {said[-1] if said else ''}",
            hint="\n".join(["Its output:", *(f"    {line}" for line in said[-15:])]),
        ) from None
    for line in said:
        if line.startswith("rekindle: the model is exported without"):
            print(line, file=sys.stderr)
    if "error" in value:
        error = RekindleError(value["error"], where=order["name"], hint=value["hint"])
        raise _with_code(error, value["code"])
    return str(value["file"])


def _with_code(error: RekindleError, code: int) -> RekindleError:
    kinds = {kind.exit_code: kind for kind in (UsageError, NotFound, RekindleError)}
    kind = kinds.get(code, UsageError)
    return kind(error.what, where=error.where, hint=error.hint)
