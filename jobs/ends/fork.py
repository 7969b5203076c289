"""Restore a checkpoint of another job in a job that was forked from it.

Three values decide: what the script of the other job set at its entry, what training made of it,
and what this script sets. Where the first and the last differ, the script meant it: its own value
stays, and is named. A learning rate and the states of random generators are such values, which are
variables and restored otherwise.
"""

from collections.abc import Iterator

import numpy as np

from rekindle.jobs.capture import fingerprint, variables
from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.capture.model_state import ModelState
from rekindle.jobs.job import Fork
from rekindle.jobs.weights import raw_arrays
from rekindle.state.counted import counted
from rekindle.state.errors import StateMismatch
from rekindle.state.run.training_state import TrainingState


class OwnValues:
    """Hold what the script of a fork sets itself, and put it back after a restore.

    Args:
        saved: state of the other job.
        models: as the script has made them, before the restore.
        own_random: the script began with other random states than that of the other job.

    Attributes:
        random: the same; its random states are not restored.
    """

    def __init__(
        self, fork: Fork, saved: TrainingState, models: ModelState, *, own_random: bool
    ) -> None:
        self.random = own_random
        self._fork = fork
        self._models = models
        self._restored: dict[str, float] = {}
        then = saved["fingerprint"].get("rates", {})
        self._rates = {
            name: (then[name], rate)
            for name, rate in models.rates().items()
            if name in then and rate != then[name]
        }
        settings = fingerprint.changed_settings(models.fingerprint(), saved["fingerprint"])
        for name in self._rates:
            settings.setdefault(name, []).append(fingerprint.RATE)
        kept = models.setting_variables(settings)
        if own_random:
            kept += models.seed_variables()
        self._kept = [
            (part, np.array(raw_arrays.value_of(part)))
            for one in kept
            for part in variables.components(one)
        ]

    def put_back(self) -> None:
        """Set what the script has set, and note the learning rates that it replaces."""
        self._restored = self._models.rates()
        for part, array in self._kept:
            raw_arrays.assign(part, array)

    def texts(self) -> Iterator[str]:
        """Say which values are those of the script."""
        for name, (then, now) in self._rates.items():
            at = self._restored.get(name, then)
            trained = f", and was {at:g} at the checkpoint" if at != then else ""
            yield (
                f"the learning rate of the {name} is {now:g}, as the script sets it; in "
                f"{self._fork.job} it was set to {then:g}{trained}"
            )
        if self.random:
            yield (
                "the random states are those that the script begins with, which differ from those "
                f"that {self._fork.job} began with"
            )


def caveat(fork: Fork) -> Caveat:
    """Say that no run from the start has this result."""
    return Caveat(
        f"Forked from {fork.job} after {counted(fork.epoch, 'epoch')} (step {fork.step}) with "
        "arguments of its own: the result is not that of a run from the start",
        "for that one, submit the script with these arguments",
    )


def refuse(fork: Fork, found: str) -> StateMismatch:
    """Build the error for a model that is not the one of the checkpoint."""
    return StateMismatch(
        f"The model is not that of {fork.job}, from which this job is forked: {found}.",
        hint="Fork with arguments that keep the model, or train this one from the beginning: "
        "`rekindle retry JOB --from-scratch`.",
    )
