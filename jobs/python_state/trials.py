"""Find trials of a study to which a training reports, e.g. so that a pruner can end it.

What was reported is in the memory of the study. A relaunch restores the steps and not the reports.
"""

import sys
import types
from collections.abc import Iterator
from typing import Any, Final

from rekindle.jobs.bytecode import own_code
from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.object_kinds.kinds import Leaf
from rekindle.jobs.object_kinds.values import type_name
from rekindle.jobs.python_state.reach import Reach

_TRIAL: Final = "optuna.trial._trial.Trial"
_NO_PRUNER: Final = "NopPruner"


def caveats(reach: Reach) -> Iterator[Caveat]:
    """Name each trial whose reports before a checkpoint a relaunch does not repeat."""
    if "optuna" not in sys.modules:
        return
    for node in reach.nodes.values():
        if isinstance(node.kind, Leaf):
            continue
        for slot in node.kind.slots(node.value):
            if type_name(type(slot.value)) != _TRIAL or not _reports(node.value):
                continue
            if type(slot.value.study.pruner).__name__ == _NO_PRUNER:
                continue
            path = node.kind.path(node.value, node.path, slot)
            yield Caveat(
                f"What earlier attempts reported to the trial {path} is not reported again, so "
                "that the pruner may decide otherwise",
                "use optuna.pruners.NopPruner(), or submit each trial as a job",
            )


def _reports(owner: Any) -> bool:
    """Return whether an object that holds a trial may report to it."""
    if type(owner) is types.FunctionType:
        return "report" in owner.__code__.co_names
    own = own_code.own_classes(owner)
    functions = [function for one in own for _, function in own_code.functions_of(one)]
    return not own or any("report" in function.__code__.co_names for function in functions)
