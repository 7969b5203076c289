"""Loads an exported model with Keras and TensorFlow alone and prints its accuracy.

``evaluate.py FILE [ARCHITECTURE]``, in a process that knows nothing of rekindle.
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf
from train import X, Y, made

file = sys.argv[2]
data = X[180:], Y[180:]
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
assert not any(name.startswith("rekindle") for name in sys.modules)


def built():
    if len(sys.argv) > 3:
        with open(sys.argv[3]) as text:
            return keras.models.model_from_json(text.read())
    model = made()
    model(X[:1])
    return model


if file.endswith(".keras"):
    custom = {}
    if sys.argv[1] == "subclassed":
        from train import Residual

        custom = {"Residual": Residual}
    model = keras.models.load_model(file, custom_objects=custom)
    assert int(model.optimizer.iterations) > 0
elif file.endswith(".weights.h5"):
    model = built()
    model.load_weights(file)
elif file.endswith(".safetensors"):
    from safetensors.numpy import load_file

    model, tensors = built(), load_file(file)
    weights = [v for v in model.variables if "seed_generator" not in v.path]
    assert len(weights) == len(tensors)
    tails = {"/".join(key.split("/")[-2:]): value for key, value in tensors.items()}
    for variable in weights:
        variable.assign(tails["/".join(variable.path.split("/")[-2:])])
else:
    found = tf.train.latest_checkpoint(file)
    assert found is not None, os.listdir(file)
    model = built()
    reader = tf.train.Checkpoint(model=model)
    reader.restore(found).expect_partial().assert_existing_objects_matched()
if sys.argv[1] != "subclassed" or not file.endswith(".keras"):
    model.compile("sgd", loss, metrics=["accuracy"])
print("ACCURACY", model.evaluate(*data, verbose=0, return_dict=True)["accuracy"])
print("MEAN", float(np.mean([np.abs(np.asarray(w)).mean() for w in model.trainable_variables])))
