"""Customizing what happens in fit() with JAX, as in the guide of keras.io."""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np


class CustomModel(keras.Model):
    """Compute loss and updates of a batch as a function of the state."""

    def compute_loss_and_updates(
        self, trainable_variables, non_trainable_variables, x, y, training=False
    ):
        y_pred, non_trainable_variables = self.stateless_call(
            trainable_variables, non_trainable_variables, x, training=training
        )
        loss = self.compute_loss(x, y, y_pred)
        return loss, (y_pred, non_trainable_variables)

    def train_step(self, state, data):
        trainable, non_trainable, optimizer_variables, metrics_variables = state
        x, y = data
        grad_fn = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        (loss, (y_pred, non_trainable)), grads = grad_fn(
            trainable, non_trainable, x, y, training=True
        )
        trainable, optimizer_variables = self.optimizer.stateless_apply(
            optimizer_variables, grads, trainable
        )
        new_metrics, logs = [], {}
        for metric in self.metrics:
            this = metrics_variables[len(new_metrics) : len(new_metrics) + len(metric.variables)]
            if metric.name == "loss":
                this = metric.stateless_update_state(this, loss)
            else:
                this = metric.stateless_update_state(this, y, y_pred)
            logs[metric.name] = metric.stateless_result(this)
            new_metrics += this
        return logs, (trainable, non_trainable, optimizer_variables, new_metrics)


inputs = keras.Input(shape=(32,))
hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(16, activation="relu")(inputs))
model = CustomModel(inputs, keras.layers.Dense(1)(hidden))
model.compile(optimizer="adam", loss="mse", metrics=["mae"])
dice = np.random.default_rng(0)
x = dice.random((200, 32)).astype("float32")
history = model.fit(x, x.mean(axis=1, keepdims=True), epochs=4)
model.save_weights("custom.weights.h5")
np.save("loss.npy", np.array(history.history["loss"]))
