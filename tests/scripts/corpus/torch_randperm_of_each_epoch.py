"""Rows by `torch.randperm` of a generator of its own, and a rate set by hand before each epoch."""

import numpy as np
import torch
from torch import nn

from rekindle.jobs import resumable

torch.manual_seed(2)
x, y = torch.randn(96, 5), torch.randn(96, 1)
model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
generator = torch.Generator().manual_seed(4)
rate, best, losses = 0.1, float("inf"), []
loop = resumable(
    state={"model": model, "optimizer": optimizer, "generator": generator}, every="2 steps"
)
for _ in loop.epochs(5):
    rate *= 0.7
    for group in optimizer.param_groups:
        group["lr"] = rate
    order = torch.randperm(len(x), generator=generator)
    for rows in loop.batches(order.split(8)):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    best = min(best, losses[-1])
np.savez("end.npz", np.array(losses), best, *[one.numpy() for one in model.state_dict().values()])
