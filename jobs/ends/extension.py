"""Train a finished `fit` for more epochs, and name what its script had planned for fewer.

The script's own number of epochs is replaced for this one call, so that everything that the script
computes from that number, such as a decay of the learning rate, stays as it was: a schedule that
changed in mid-run would fit neither the epochs before nor those after.
"""

import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from rekindle.jobs.capture.component import Caveat
from rekindle.jobs.job import Extension
from rekindle.jobs.keras_compat import followed, internals
from rekindle.state.counted import counted

_SCHEDULE: Final = "LearningRateSchedule"
_OWN: Final = ("keras", "tf_keras", "tensorflow")
_CLOSE: Final = 1e-6


def epochs(extension: Extension | None, stage: int) -> int | None:
    """Return the number of epochs that replaces that of a `fit`; None where it keeps its own."""
    return extension.epochs if extension is not None and extension.stage == stage else None


def caveats(
    extension: Extension, before: int, optimizers: Iterable[Any], callbacks: Iterable[Any]
) -> list[Caveat]:
    """Name what differs from a run of that many epochs from the start, schedules first of all.

    Args:
        before: the number of epochs that the finished run was given.
        optimizers: as restored, at the step of the end.
    """
    total = counted(extension.epochs, "epoch")
    found = [
        Caveat(
            f"Extended after its end, from {extension.finished} to {total}: the result is not that "
            f"of a run of {total} from the start",
            "for that one, submit the script again with that number",
        )
    ]
    remedy = f"for a schedule over {total}, submit the script again with that number"
    for optimizer in optimizers:
        text = _of_optimizer(optimizer, extension)
        found += [Caveat(text, remedy)] if text else []
        if getattr(optimizer, "use_ema", None):
            found.append(
                Caveat(
                    "The optimizer has put its moving averages into the model at the end "
                    "(use_ema), and trains on from these",
                    "submit the script again with that number of epochs",
                )
            )
    for callback in callbacks:
        stopped = vars(callback).get("stopped_epoch")
        if type(callback).__name__ == "EarlyStopping" and isinstance(stopped, int) and stopped:
            found.append(
                Caveat(
                    "EarlyStopping has ended the training in epoch "
                    f"{stopped + 1} and keeps what it has counted: it may end it "
                    "again after one epoch",
                    "submit the script again with a larger patience",
                )
            )
        found += [Caveat(text, remedy) for text in _of_callback(callback, before)]
    return found


def data_caveats(data: Any) -> list[Caveat]:
    """Name data of legacy Keras that the end of a `fit` has prepared otherwise than an epoch does.

    Its `on_epoch_end` is called between two epochs, and not in the same way after the last one.
    """
    kind = type(data)
    if (
        not followed.is_legacy()
        or not isinstance(data, internals.PyDataset)
        or getattr(kind, "on_epoch_end", None) is internals.PyDataset.on_epoch_end
    ):
        return []
    return [
        Caveat(
            f"Legacy Keras calls on_epoch_end of {kind.__name__} otherwise at the end of a `fit` "
            "than between two epochs: the epochs that are added may have other data than those of "
            "a longer run",
            "submit the script again with that number of epochs",
        )
    ]


def _of_optimizer(optimizer: Any, extension: Extension) -> str | None:
    """Describe the schedule of an optimizer over the epochs that are added."""
    schedule = getattr(optimizer, "_learning_rate", None)
    if not any(base.__name__ == _SCHEDULE for base in type(schedule).__mro__):
        return None
    assert schedule is not None
    try:
        step = int(optimizer.iterations)
        last = step + -(-step * (extension.epochs - extension.finished) // extension.finished)
        middle = (step + last) // 2
        rates = [float(schedule(at)) for at in (step, middle, last)]
        config = schedule.get_config()
    except Exception:
        return f"The learning rate keeps its schedule {type(schedule).__name__}"
    numbers = ", ".join(
        f"{name}={value:g}"
        for name, value in config.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    text = f"The learning rate keeps its schedule {type(schedule).__name__}({numbers})"
    if max(rates) - min(rates) <= _CLOSE * max(map(abs, rates)):
        return f"{text}: it is {rates[0]:.4g} in all epochs that are added"
    return f"{text}: from step {step} on it goes from {rates[0]:.4g} to {rates[-1]:.4g}"


def _of_callback(callback: Any, before: int) -> Iterator[str]:
    """Name where a callback holds the earlier number of epochs."""
    name = type(callback).__name__
    if type(callback).__module__.partition(".")[0] not in _OWN:
        for key, value in vars(callback).items():
            if _is_number(value, before):
                yield f"{name}.{key} is {before}, the earlier number of epochs"
    for value in vars(callback).values():
        function = getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType):
            held = next(_held(function, before), None)
            if held is not None:
                yield (
                    f"{name} calls {function.__name__}, whose {held} is {before}, the earlier "
                    "number of epochs"
                )


def _held(function: Callable[..., Any], number: int) -> Iterator[str]:
    """Name what a function of the script knows that is this number."""
    code = function.__code__
    if any(_is_number(value, number) for value in code.co_consts):
        yield "constant"
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        if _is_number(value, number):
            yield "default argument"
    known = {
        name: function.__globals__[name] for name in code.co_names if name in function.__globals__
    }
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            known[name] = cell.cell_contents
        except ValueError:
            continue  # it is not set yet
    for name, value in known.items():
        if _is_number(value, number):
            yield f"`{name}`"
        elif type(value).__name__ in ("Namespace", "SimpleNamespace"):
            for key, one in vars(value).items():
                if key in code.co_names and _is_number(one, number):
                    yield f"`{name}.{key}`"


def _is_number(value: Any, number: int) -> bool:
    return type(value) in (int, float) and value == number
