"""Optuna with a pruner and storage in a file, as its Keras examples."""

import numpy as np
import optuna
import tensorflow as tf

rng = np.random.default_rng(52)
x, y = rng.random((80, 8)).astype("float32"), rng.random(80)


class Pruning(tf.keras.callbacks.Callback):
    def __init__(self, trial):
        super().__init__()
        self.trial = trial

    def on_epoch_end(self, epoch, logs=None):
        self.trial.report(logs["val_loss"], step=epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial):
    units = trial.suggest_int("units", 2, 12)
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    model = tf.keras.Sequential([tf.keras.layers.Dense(units, "relu"), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.Adam(lr), "mse")
    history = model.fit(
        x,
        y,
        epochs=3,
        batch_size=16,
        validation_data=(x[:30], y[:30]),
        callbacks=[Pruning(trial)],
        verbose=0,
    )
    return history.history["val_loss"][-1]


study = optuna.create_study(
    sampler=optuna.samplers.TPESampler(seed=3), pruner=optuna.pruners.MedianPruner(2, 1)
)
study.optimize(objective, n_trials=4)
np.savez("result.npz", [t.value or np.nan for t in study.trials], study.best_value)
