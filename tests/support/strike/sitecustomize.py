"""Strike at the place that ``$STRIKE`` names; Python loads this in a trainer under test.

A place is a moment in the trainer's own work: the Nth step of the attempt, a batch of the
validation, a point inside the commit of a checkpoint, the instant between that commit and its
line in the journal. The signal is real, to the trainer itself or to its keeper. The product does
not know of this module.
"""

import functools
import gc
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import threading
import time

# optional dependencies of Keras and TensorFlow that no script of the matrix uses: a third of
# the import time
UNUSED = {"jax", "matplotlib", "pandas", "sklearn", "torch"}
UNUSED -= set(os.environ.get("STRIKE_USED", "").split(","))


class Striker:
    """Count events and strike once."""

    def __init__(self, blow, unknown_keras, ahead="", devices=""):
        self.unknown_keras = unknown_keras
        self.ahead = ahead
        self.devices = devices
        self.place, self.left, self.report = blow["place"], blow["count"], blow["report"]
        self.signal, self.keeper, self.delay = blow["signal"], blow["keeper"], blow["delay"]
        self.armed = True
        self.timer = None
        self.base = None
        self.where = (0, 0, "start")

    def at(self, place):
        """Count an event of this name, in this thread."""
        if not self.armed or place != self.place:
            return
        self.left -= 1
        if self.left <= 0:
            self.strike()

    def beat(self, section, epoch, step):
        """Count a heartbeat of the trainer."""
        self.where = (epoch, step, section)
        if section != "step":
            self.at(section)
            return
        if self.timer is not None and step > self.timer[1] + 1:
            self.timer[0].join()  # it is late, and is to hit in these batches
            self.timer = None
        if self.base is None:
            self.base = step
        if self.armed and self.place in ("step", "batch") and step >= self.base + self.left:
            self.armed = False
            settle()
            if self.place == "step":
                self.strike()
            else:  # at some time in the batches that follow
                timer = threading.Timer(self.delay, self.strike)
                self.timer = timer, step
                timer.start()

    def strike(self):
        self.armed = False
        epoch, step, section = self.where
        line = {"place": self.place, "epoch": epoch, "step": step, "section": section}
        with open(self.report, "a") as file:
            file.write(json.dumps(line) + "\n")
        os.kill(os.getppid() if self.keeper else os.getpid(), self.signal)
        if self.keeper and self.signal == signal.SIGKILL:
            time.sleep(
                30
            )  # the kernel ends this process with the keeper: nothing may happen before


def settle():
    """Wait until what was saved before this step is on disk: a test counts on it."""
    session = sys.modules.get("rekindle.jobs.attempt.session")
    if session is not None and session.Session.current is not None:
        session.Session.current.saves.settle()


def patch_background(module, striker):
    plain = module.Background.start

    def start(self, work):
        plain(self, work)
        if striker.armed and striker.place == "in flight":
            threading.Timer(striker.delay, striker.at, ["in flight"]).start()

    module.Background.start = start


def patch_heartbeat(module, striker):
    plain = module.Heartbeat.beat

    def beat(self, section, epoch=0, step=0, **more):
        plain(self, section, epoch, step, **more)
        striker.beat(section, epoch, step)

    module.Heartbeat.beat = beat


def patch_checkpoints(module, striker):
    plain = module.commit

    def commit(folder, position, write, manifest, **more):
        def write_and_strike(temporary):
            if striker.armed and striker.place == "in_write":
                # half of a file, as when the process is killed within the write
                write(temporary)
                whole = (temporary / module.STATE).read_bytes()
                (temporary / module.STATE).write_bytes(whole[: len(whole) // 2])
                striker.at("in_write")
                (temporary / module.STATE).unlink()
            return write(temporary)

        return plain(folder, position, write_and_strike, manifest, crash_point=striker.at)

    module.commit = commit


def patch_snapshots(module, striker):
    from rekindle.state import crash_points

    keepers = module.Keeper
    commit = (*crash_points.CHECKPOINT, "in_write")

    class Keeper(keepers):
        def is_there(self):
            # the places of a commit are then in this process
            within = striker.place in commit or "line checkpoint_committed" in striker.place
            return super().is_there() and not within

        def hand_over(self, image):
            striker.at("before_handover")
            super().hand_over(image)
            striker.at("handed_over")

    module.Keeper = Keeper


def patch_slot(module, striker):
    plain = module.Slot.take

    def take(self, arrays):
        if striker.armed and striker.place == "in_copy":
            plain(self, dict(list(arrays.items())[: len(arrays) // 2]))
            striker.at("in_copy")
        plain(self, arrays)

    module.Slot.take = take


def patch_journal(module, striker):
    plain = module.append

    def append(path, kind, **fields):
        striker.at(f"before the line {kind}")
        entry = plain(path, kind, **fields)
        striker.at(f"after the line {kind}")
        return entry

    module.append = append


def patch_state(module, striker):
    plain = module.StageState.capture

    def capture(self, at, *arguments, **more):
        if at.ended:
            # models of earlier stages that are only garbage: when it is collected is chance, and
            # their seed generators are in the state until then
            gc.collect()
        return plain(self, at, *arguments, **more)

    module.StageState.capture = capture


def patch_tested(module, striker):
    if striker.unknown_keras:
        for name in ("tensorflow.trainer:TensorFlow", "jax.trainer:JAX", "torch.trainer:Torch"):
            module.KNOWN[f"backend.{name}Trainer.fit"] = {"of no version": ""}


def patch_digests(module, striker):
    # a busy machine spends two milliseconds while it lets the trainer wait
    if striker.ahead:
        module.AHEAD_S = float(striker.ahead)


def patch_device_copies(module, striker):
    # pieces that no array here is a multiple of; with "cpu" the processor stands for an
    # accelerator of JAX
    if striker.devices:
        module.LEAST = 16
        module.PIECE = 4104 if striker.devices == "gpu" else 72
    if striker.devices == "cpu":
        module._Jax.device_of = lambda self, value: "processor"
        module._Jax.room = lambda self, device: 1e12


PATCHES = {
    "rekindle.jobs.weights.device_copies": patch_device_copies,
    "rekindle.jobs.handover.snapshots": patch_snapshots,
    "rekindle.jobs.handover.slot": patch_slot,
    "rekindle.jobs.saving.background": patch_background,
    "rekindle.jobs.evidence.state_digest": patch_digests,
    "rekindle.jobs.keras_compat.known": patch_tested,
    "rekindle.jobs.resume.stage_state": patch_state,
    "rekindle.jobs.heartbeat": patch_heartbeat,
    "rekindle.state.run.checkpoints": patch_checkpoints,
    "rekindle.state.run.journal": patch_journal,
}


def _without_striker(patch, module, striker):
    patch(module)


class Finder(importlib.abc.MetaPathFinder):
    """Patch modules right after they are loaded, and hide the unused ones."""

    def __init__(self, striker, fault):
        self.striker = striker
        self.patches = {name: [patch] for name, patch in PATCHES.items()}
        self.busy = False
        if fault:
            from faults import FAULTS

            for name, patch in FAULTS[fault].items():
                wrong = functools.partial(_without_striker, patch)
                self.patches.setdefault(name, []).append(wrong)

    def find_spec(self, name, path, target=None):
        if name in UNUSED:
            raise ModuleNotFoundError(f"{name} is hidden in this test", name=name)
        if self.busy or name not in self.patches:
            return None
        self.busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy = False
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for patch in self.patches[name]:
                patch(module, self.striker)

        spec.loader.exec_module = exec_module
        return spec


NOTHING = {"place": "", "count": 0, "report": "", "signal": 0, "keeper": False, "delay": 0}


def arm():
    """Strike as the environment says, in this process."""
    disarm()
    blow = json.loads(os.environ.pop("STRIKE", "null"))
    unknown_keras = bool(os.environ.pop("STRIKE_UNKNOWN_KERAS", ""))
    fault = os.environ.pop("STRIKE_FAULT", "")
    ahead = os.environ.pop("STRIKE_AHEAD", "")
    devices = os.environ.pop("STRIKE_DEVICES", "")
    striker = Striker(blow or NOTHING, unknown_keras, ahead, devices)
    sys.meta_path.insert(0, Finder(striker, fault))


def disarm():
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]


arm()
