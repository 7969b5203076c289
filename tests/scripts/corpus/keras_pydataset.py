"""PyDataset that shuffles its ids at the end of each epoch, as countless data generators."""

import keras
import numpy as np


class DataGenerator(keras.utils.PyDataset):
    def __init__(self, ids, labels, batch_size=16, shuffle=True, **kwargs):
        super().__init__(**kwargs)
        self.ids, self.labels, self.batch_size = ids, labels, batch_size
        self.shuffle = shuffle
        self.on_epoch_end()

    def __len__(self):
        return int(np.floor(len(self.ids) / self.batch_size))

    def __getitem__(self, index):
        chosen = self.indexes[index * self.batch_size : (index + 1) * self.batch_size]
        x = np.stack([np.sin(np.arange(6) * (i + 1)) for i in self.ids[chosen]])
        return x.astype("float32"), self.labels[chosen]

    def on_epoch_end(self):
        self.indexes = np.arange(len(self.ids))
        if self.shuffle:
            np.random.shuffle(self.indexes)


ids, labels = np.arange(96), np.arange(96) % 2
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(
    DataGenerator(ids, labels), validation_data=DataGenerator(ids, labels, shuffle=False), epochs=4
)
np.savez("result.npz", *model.get_weights())
