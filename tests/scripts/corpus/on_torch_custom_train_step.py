"""Customizing what happens in fit() with PyTorch, as in the guide of keras.io."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch


class CustomModel(keras.Model):
    """Train with autograd of PyTorch."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        loss.backward()
        trainable_weights = list(self.trainable_weights)
        gradients = [v.value.grad for v in trainable_weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, trainable_weights)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


inputs = keras.Input(shape=(32,))
hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(16, activation="relu")(inputs))
model = CustomModel(inputs, keras.layers.Dense(1)(hidden))
model.compile(optimizer="adam", loss="mse", metrics=["mae"])
dice = np.random.default_rng(0)
x = dice.random((200, 32)).astype("float32")
history = model.fit(x, x.mean(axis=1, keepdims=True), epochs=4)
model.save_weights("custom.weights.h5")
np.save("loss.npy", np.array(history.history["loss"]))
