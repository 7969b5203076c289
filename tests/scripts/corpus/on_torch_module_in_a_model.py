"""A module of PyTorch as a layer of a Keras model, with statistics of its own."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch


class Classifier(keras.Model):
    """Wrap a sequence of modules."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(10, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
        )
        self.head = keras.layers.Dense(1, activation="sigmoid")

    def call(self, inputs):
        return self.head(self.body(inputs))


dice = np.random.default_rng(0)
x = dice.normal(size=(170, 10)).astype("float32")
y = (x.sum(1) > 0).astype("float32")
model = Classifier()
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=4, batch_size=16, validation_split=0.2, class_weight={0: 1.0, 1: 2.0})
state = model.body.module.state_dict().values()
np.savez("end.npz", *(one.detach().numpy() for one in state), *map(np.asarray, model.get_weights()))
