"""Make the engine of a trainer under test wrong on purpose, in one component at a time.

Each fault patches one module of the product when it is loaded; the product does not know of it.
"""


def _after(owner, name, then):
    """Run ``then(self)`` after a method."""
    plain = getattr(owner, name)

    def method(self, *args, **kwargs):
        result = plain(self, *args, **kwargs)
        then(self)
        return result

    setattr(owner, name, method)


def weight(module):
    """One weight is off by one unit in the last place."""
    import numpy as np

    def shift(state):
        kernel = state.models["model"].trainable_variables[0]
        value = np.array(kernel.numpy())
        value.flat[0] = np.nextafter(value.flat[0], np.float32(9))
        kernel.assign(value)

    _after(module.ModelState, "restore", shift)


def slot(module):
    """One slot of the optimizer is zero."""

    def clear(state):
        momentum = state.models["model"].optimizer.variables[2]
        momentum.assign(momentum.numpy() * 0)

    _after(module.ModelState, "restore", clear)


def generator(module):
    """The seed generator of Dropout has drawn once more."""

    def draw(_):
        for _, one in module.generators():
            one.next()

    _after(module.RandomState, "restore", draw)


def numpy(module):
    """numpy's generator has drawn once more."""
    import numpy as np

    _after(module.RandomState, "restore", lambda _: np.random.random())


def attribute(module):
    """An attribute of a callback is not restored."""
    plain = module.Restorer._bind

    def bind(self, path, kind, value, label, *rest):
        if label != ".factor":
            plain(self, path, kind, value, label, *rest)

    module.Restorer._bind = bind


def order(module):
    """The samples of a pass come one batch later."""
    plain = module.order

    def shifted(*args):
        import numpy as np

        return np.roll(plain(*args), 16)

    module.order = shifted


def cache(module):
    """A cache behind a shuffle is not filled again in the order of the first pass."""
    module.HiddenState.fill = lambda *_: None


def python(module):
    """Nothing reachable from callbacks and closures is restored."""
    module.Restorer.restore = lambda self: None


def no_verify(module):
    """The trainer cannot verify a checkpoint; only one that it prunes."""
    import sys

    plain = module.verify

    def verify(checkpoint, **more):
        if sys._getframe(1).f_code.co_name != "judge":
            raise RuntimeError(f"the trainer verifies {checkpoint.name}")
        return plain(checkpoint, **more)

    module.verify = verify


def device(module):
    """Each copy on an accelerator arrives with a wrong number."""
    plain = module.DeviceCopy.move_to

    def move_to(self, there):
        plain(self, there)
        there.flat[0] += 1

    module.DeviceCopy.move_to = move_to


_MODELS = "rekindle.jobs.capture.model_state"
_GENERATORS = "rekindle.jobs.capture.rng"
_JOBS = "rekindle.jobs"
_PYTHON = f"{_JOBS}.python_state.restore"  # an earlier engine has none

FAULTS = {
    "weight": {_MODELS: weight},
    "slot": {_MODELS: slot},
    "generator": {_GENERATORS: generator},
    "numpy": {_GENERATORS: numpy},
    "attribute": {f"{_JOBS}.python_state.restore": attribute},
    "order": {"rekindle.jobs.data.keras3.array_source": order},
    "cache": {f"{_JOBS}.data.pipeline.hidden_state": cache},
    "python": {_PYTHON: python},
    "no_verify": {"rekindle.state.run.checkpoints": no_verify},
    "device": {f"{_JOBS}.weights.device_copies": device},
}
