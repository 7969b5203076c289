"""PyTorch with a shuffled DataLoader with workers, drawn noise, and an average in bfloat16."""

import copy
import sys

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rekindle.jobs import resumable

X = torch.linspace(-1, 1, 96 * 8).reshape(96, 8)
Y = (X.sum(1, keepdim=True) > 0).float()
loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, num_workers=2)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
average = copy.deepcopy(model).to(torch.bfloat16)
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
loop = resumable(state={"model": model, "average": average, "optimizer": optimizer})
losses = []
for _ in loop.epochs(4):
    for x, y in loop.batches(loader):
        noisy = x + 0.1 * torch.randn_like(x)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(noisy), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
                mean.mul_(0.9).add_(weight.to(torch.bfloat16), alpha=0.1)
        losses.append(loss.item())
        loop.log(loss=loss.item())
assert not {"keras", "tensorflow"} & sys.modules.keys()
kept = [*model.parameters(), *average.parameters()]
np.savez("end.npz", losses, *[value.detach().float().numpy() for value in kept])
