"""WindowGenerator class and several models with one patience, as TensorFlow's time series."""

import numpy as np
import tensorflow as tf

rng = np.random.default_rng(24)
frame = np.cumsum(rng.normal(size=(150, 2)), 0).astype("float32")
train_df, val_df = frame[:110], frame[110:]


class WindowGenerator:
    def __init__(self, input_width, label_width, shift):
        self.total = input_width + shift
        self.input_width, self.label_width = input_width, label_width

    def split_window(self, features):
        inputs = features[:, : self.input_width, :]
        labels = features[:, -self.label_width :, :1]
        inputs.set_shape([None, self.input_width, None])
        labels.set_shape([None, self.label_width, None])
        return inputs, labels

    def make_dataset(self, data):
        ds = tf.keras.utils.timeseries_dataset_from_array(
            data=np.array(data, dtype=np.float32),
            targets=None,
            sequence_length=self.total,
            sequence_stride=1,
            shuffle=True,
            batch_size=16,
        )
        return ds.map(self.split_window)

    @property
    def train(self):
        return self.make_dataset(train_df)

    @property
    def val(self):
        return self.make_dataset(val_df)


def compile_and_fit(model, window, patience=2):
    early_stopping = tf.keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=patience, mode="min"
    )
    model.compile(
        loss=tf.keras.losses.MeanSquaredError(),
        optimizer=tf.keras.optimizers.Adam(),
        metrics=[tf.keras.metrics.MeanAbsoluteError()],
    )
    return model.fit(
        window.train, epochs=3, validation_data=window.val, callbacks=[early_stopping], verbose=0
    )


window = WindowGenerator(input_width=6, label_width=1, shift=1)
linear = tf.keras.Sequential(
    [tf.keras.layers.Flatten(), tf.keras.layers.Dense(1), tf.keras.layers.Reshape([1, 1])]
)
lstm = tf.keras.Sequential(
    [tf.keras.layers.LSTM(4), tf.keras.layers.Dense(1), tf.keras.layers.Reshape([1, 1])]
)
val_performance = {}
for name, model in {"linear": linear, "lstm": lstm}.items():
    compile_and_fit(model, window)
    val_performance[name] = model.evaluate(window.val, verbose=0)
np.savez("result.npz", *linear.get_weights(), *lstm.get_weights())
