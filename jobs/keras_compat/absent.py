"""Stand in for a library that a script has not imported: nothing of it can be met."""

from typing import Any


class _Nothing(type):
    """Class of classes without instances; each attribute of such a class is another one."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = absent(f"{cls.__name__}.{name}")
        setattr(cls, name, made)
        return made

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{cls.__name__} is not imported by the script")


def absent(name: str, **attributes: Any) -> Any:
    """Make a class of which nothing is an instance, for a module or a class of a library.

    Args:
        attributes: those that have a value, e.g. a version.
    """
    return _Nothing(name, (), attributes)
