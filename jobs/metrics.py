"""Know of a metric's name whether higher values are better."""

from typing import Final

_HIGHER_IS_BETTER: Final = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "fmeasure",
    "iou",
    "dice",
    "r2",
    "similarity",
    "sensitivity",
    "specificity",
)


def higher_is_better(metric: str, mode: str = "auto") -> bool:
    """Return whether a higher value of a metric is better; ``mode`` as in Keras.

    ``auto`` treats accuracies, scores and similar names as better when higher, all others as
    losses.
    """
    if mode == "auto":
        return any(part in metric.lower() for part in _HIGHER_IS_BETTER)
    return mode == "max"
