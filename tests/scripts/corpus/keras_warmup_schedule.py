"""Own learning-rate schedule with warm-up and cosine decay, gradient clipping, AdamW."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable()
class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, base, total, warmup):
        self.base, self.total, self.warmup = base, total, warmup

    def __call__(self, step):
        step = ops.cast(step, "float32")
        cosine = 0.5 * self.base * (1 + ops.cos(3.14159 * (step - self.warmup) / self.total))
        return ops.where(step < self.warmup, self.base * step / self.warmup, cosine)

    def get_config(self):
        return {"base": self.base, "total": self.total, "warmup": self.warmup}


rng = np.random.default_rng(13)
x, y = rng.random((96, 8)).astype("float32"), rng.random(96)
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "gelu"), keras.layers.Dense(1)])
optimizer = keras.optimizers.AdamW(WarmUpCosine(0.01, 24, 5), weight_decay=1e-4, clipnorm=1.0)
model.compile(optimizer=optimizer, loss="huber", metrics=["mae"])
model.fit(x, y, epochs=4, batch_size=16)
np.savez("result.npz", *model.get_weights())
