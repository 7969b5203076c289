"""Paths of the states of random generators among the variables of a model."""


def is_seed(path: str) -> bool:
    """Return whether a path is that of the state of a random generator, and not of a weight."""
    name = path.rpartition("/")[2]
    # of Keras 3, and of the generators of TensorFlow that legacy Keras makes
    return name == "seed_generator_state" or name.startswith("StateVar")
