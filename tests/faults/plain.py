"""A training without Keras: it counts and records steps, saves, resumes, and fails on request.

It runs as an ordinary script in the real trainer, in a tenth of a second instead of five.
"""

import argparse
import ctypes
import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from rekindle.jobs.attempt import shutdown
from rekindle.jobs.attempt.progress import Progress
from rekindle.jobs.attempt.session import Session
from rekindle.state.run import checkpoints
from rekindle.state.run.checkpoints import Position

STATE = "state.json"


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's; there is no GPU here whose memory could run out."""


def fail(kind: str, step: int) -> None:
    """The fault ``kind``, for real."""
    if kind == "exit":
        sys.exit(3)
    if kind == "raise":
        raise ValueError(f"bad record in batch {step}")
    if kind == "fault":
        ctypes.string_at(8)
    if kind == "abort":
        os.abort()
    if kind == "deadlock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if kind == "gil":
        # a native deadlock that never lets go of the interpreter
        mutex, native = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
        native.pthread_mutex_lock(mutex)
        native.pthread_mutex_lock(mutex)
    if kind == "memory":
        hoard = []
        while True:
            hoard.append(bytearray(b"x" * 2**22))
            time.sleep(0.002)
    if kind == "gpu":
        raise ResourceExhaustedError("OOM when allocating tensor on /device:GPU:0 by GPU_0_bfc")
    if kind == "space":
        raise OSError(28, "No space left on device", "/scratch/features.npy")
    if kind == "chatter":
        print("x" * 65536)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--fault", default="none@0", help="KIND@STEP, each time")
    parser.add_argument("--once", action="store_true", help="the fault is for attempt 1 only")
    parser.add_argument("--wait-for", help="a file that has to appear before the last step")
    args = parser.parse_args()
    session = Session.current
    assert session is not None
    kind, _, where = args.fault.partition("@")
    if args.once and session.attempt > 1:
        kind = "none"
    if kind != "none" and where == "start":
        fail(kind, 0)

    step, digest = 0, ""
    found = checkpoints.latest_good(session.run.checkpoints).checkpoint
    if found is not None:
        state = json.loads((found.path / STATE).read_text())
        step, digest = state["step"], state["digest"]
    session.stages.enter(lambda: None)
    session._log._record.add(
        "resumed",
        stage=0,
        epoch=0,
        step=step,
        refused=[],
        restored=[],
        checkpoint=found.name if found else None,
    )
    session._at.place(Progress(step=step))
    shutdown.in_training(True)
    # time.sleep fails with EINVAL under libfaketime, which the clock's test sets time with
    pause = threading.Event()
    trace = os.open("steps.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def save() -> None:
        data = json.dumps({"step": step, "digest": digest}).encode()
        try:
            made = checkpoints.commit(
                session.run.checkpoints,
                Position(0, 0, step),
                lambda folder: (folder / STATE).write_bytes(data) and None,
                {"attempt": session.attempt},
            )
        except OSError as error:
            session._log._record.add("save_failed", error=str(error), epoch=0, step=step)
            return
        session._log._record.add(
            "checkpoint_committed",
            name=made.name,
            stage=0,
            epoch=0,
            step=step,
            bytes=made.bytes,
            why="steps",
        )

    while step < args.steps:
        if str(step) == where:
            fail(kind, step)
        if kind == "chatter" and step % 5 == 0:
            fail(kind, step)
        if step == args.steps - 1 and args.wait_for:
            while not Path(args.wait_for).exists() and not shutdown.requested():
                session.beat("step")
                pause.wait(0.01)
        os.write(trace, f"{session.attempt} {step}\n".encode())
        digest = hashlib.sha256(f"{digest} {step}".encode()).hexdigest()
        step += 1
        session.advance(Progress(step=step))
        session.beat("step")
        if step % args.every == 0:
            save()
        if shutdown.requested():
            save()
            shutdown.exit_saved()
        pause.wait(args.pause)
    save()
    Path(f"{session.job.name}.result.txt").write_text(digest)
    print("came to", digest)
    session.stage_ended(0, 0)
    session.leave_stage()
    shutdown.in_training(False)


signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as scripts do that know nothing of us
main()
