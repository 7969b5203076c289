"""Stratified folds, one best file per fold, out-of-fold predictions, as competition kernels."""

import numpy as np
import tensorflow as tf
from sklearn.model_selection import StratifiedKFold

SEED, FOLDS = 42, 3
tf.keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(32)
X, y = rng.random((90, 8)).astype("float32"), rng.integers(0, 2, 90)


def build_model():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(8, activation="swish"),
            tf.keras.layers.Dropout(0.3),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=[tf.keras.metrics.AUC()])
    return model


oof = np.zeros(len(X))
scores = []
for fold, (tr, va) in enumerate(
    StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(X, y)
):
    model = build_model()
    sv = tf.keras.callbacks.ModelCheckpoint(
        f"fold-{fold}.weights.h5", monitor="val_loss", save_best_only=True, save_weights_only=True
    )
    lr = tf.keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=1)
    es = tf.keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)
    model.fit(
        X[tr],
        y[tr],
        validation_data=(X[va], y[va]),
        epochs=4,
        batch_size=16,
        callbacks=[sv, lr, es],
        verbose=0,
    )
    model.load_weights(f"fold-{fold}.weights.h5")
    oof[va] = model.predict(X[va], verbose=0).ravel()
    scores.append(model.evaluate(X[va], y[va], verbose=0)[0])
    print(f"fold {fold}: {scores[-1]:.4f}")
np.savez("result.npz", oof, scores)
