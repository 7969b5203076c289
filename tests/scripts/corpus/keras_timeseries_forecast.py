"""timeseries_dataset_from_array with EarlyStopping and a best file, as the weather forecast."""

import keras
import numpy as np

rng = np.random.default_rng(6)
series = np.cumsum(rng.normal(size=(160, 3)), axis=0).astype("float32")
series = (series - series[:120].mean(axis=0)) / series[:120].std(axis=0)
dataset_train = keras.utils.timeseries_dataset_from_array(
    series[:120], series[10:120, 1], sequence_length=10, sampling_rate=1, batch_size=16
)
dataset_val = keras.utils.timeseries_dataset_from_array(
    series[120:], series[130:, 1], sequence_length=10, sampling_rate=1, batch_size=16
)
inputs = keras.layers.Input(shape=(10, 3))
outputs = keras.layers.Dense(1)(keras.layers.LSTM(8)(inputs))
model = keras.Model(inputs=inputs, outputs=outputs)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="mse")
path_checkpoint = "model_checkpoint.weights.h5"
es_callback = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=0, patience=5)
modelckpt_callback = keras.callbacks.ModelCheckpoint(
    monitor="val_loss",
    filepath=path_checkpoint,
    verbose=1,
    save_weights_only=True,
    save_best_only=True,
)
history = model.fit(
    dataset_train,
    epochs=5,
    validation_data=dataset_val,
    callbacks=[es_callback, modelckpt_callback],
)
model.load_weights(path_checkpoint)
np.savez("result.npz", history.history["loss"], *model.get_weights())
