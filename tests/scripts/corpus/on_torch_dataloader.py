"""Train a Keras model on a DataLoader of PyTorch that shuffles and augments."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

dice = np.random.default_rng(0)
features = torch.from_numpy(dice.normal(size=(170, 10)).astype("float32"))
labels = (features.sum(1) > 0).long()


def noisy(samples):
    x, y = (torch.stack(part) for part in zip(*samples, strict=True))
    return x + 0.1 * torch.randn_like(x), y


data = torch.utils.data.TensorDataset(features, labels)
train, valid = torch.utils.data.random_split(data, [140, 30])
train_loader = torch.utils.data.DataLoader(train, batch_size=16, shuffle=True, collate_fn=noisy)
valid_loader = torch.utils.data.DataLoader(valid, batch_size=16)
model = keras.Sequential(
    [keras.layers.Dense(16, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(2)]
)
model.compile(
    keras.optimizers.SGD(0.1, momentum=0.9),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
model.fit(train_loader, epochs=4, validation_data=valid_loader, callbacks=[stop])
model.save_weights("end.weights.h5")
