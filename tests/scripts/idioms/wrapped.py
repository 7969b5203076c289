"""scikit-learn's interface trains: `keras.wrappers`."""

from keras.callbacks import LambdaCallback
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.wrappers import SKLearnRegressor
from slow import data, pause


def build(X, y):
    model = Sequential([Input((X.shape[1],)), Dense(16, activation="relu"), Dense(1)])
    model.compile("adam", "mse")
    return model


x, y = data()
slow = LambdaCallback(on_train_batch_end=lambda batch, logs: pause())
estimator = SKLearnRegressor(
    build, fit_kwargs={"batch_size": 16, "epochs": 4, "verbose": 2, "callbacks": [slow]}
)
estimator.fit(x, y[:, 0])
