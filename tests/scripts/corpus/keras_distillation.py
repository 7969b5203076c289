"""Teacher, then student that learns from it, as keras.io knowledge distillation."""

import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(10)
x, y = rng.random((96, 8)).astype("float32"), rng.integers(0, 3, 96)


class Distiller(keras.Model):
    def __init__(self, student, teacher):
        super().__init__()
        self.teacher = teacher
        self.student = student

    def compile(
        self, optimizer, metrics, student_loss_fn, distillation_loss_fn, alpha, temperature
    ):
        super().compile(optimizer=optimizer, metrics=metrics)
        self.student_loss_fn = student_loss_fn
        self.distillation_loss_fn = distillation_loss_fn
        self.alpha = alpha
        self.temperature = temperature

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, allow_empty=False):
        teacher_pred = self.teacher(x, training=False)
        student_loss = self.student_loss_fn(y, y_pred)
        distillation_loss = self.distillation_loss_fn(
            ops.softmax(teacher_pred / self.temperature, axis=1),
            ops.softmax(y_pred / self.temperature, axis=1),
        ) * (self.temperature**2)
        return self.alpha * student_loss + (1 - self.alpha) * distillation_loss

    def call(self, x):
        return self.student(x)


def network(units):
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(units, activation="relu"), layers.Dense(3)]
    )


teacher, student = network(16), network(4)
student_scratch = keras.models.clone_model(student)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
teacher.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
teacher.fit(x, y, epochs=3, batch_size=16)
distiller = Distiller(student=student, teacher=teacher)
distiller.compile(
    optimizer=keras.optimizers.Adam(),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
    student_loss_fn=loss,
    distillation_loss_fn=keras.losses.KLDivergence(),
    alpha=0.1,
    temperature=10,
)
distiller.fit(x, y, epochs=3, batch_size=16)
student_scratch.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
student_scratch.fit(x, y, epochs=3, batch_size=16)
np.savez("result.npz", *student.get_weights(), *student_scratch.get_weights())
