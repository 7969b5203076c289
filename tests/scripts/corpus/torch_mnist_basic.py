"""Basic MNIST example of PyTorch: functions train and test, and a rate that decays."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR

from rekindle.jobs import resumable


class Net(nn.Module):
    """A small convolutional network."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.dropout = nn.Dropout(0.25)
        self.fc = nn.Linear(4 * 25, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return F.log_softmax(self.fc(torch.flatten(self.dropout(x), 1)), dim=1)


def train(model, loader, optimizer):
    model.train()
    for data, target in loop.batches(loader):
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()


def test(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for data, target in loader:
            correct += (model(data).argmax(1) == target).sum().item()
    return correct / len(loader.dataset)


torch.manual_seed(1)
labels = torch.randint(0, 4, (160,))
images = 0.3 * torch.randn(160, 1, 12, 12)
images[torch.arange(160), 0, labels * 3] += 1.0
data = torch.utils.data.TensorDataset(images, labels)
train_loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True, num_workers=1)
test_loader = torch.utils.data.DataLoader(data, batch_size=64)
model = Net()
optimizer = optim.Adadelta(model.parameters(), lr=1.0)
scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
scores = []
loop = resumable(
    state={"model": model, "optimizer": optimizer, "scheduler": scheduler}, every="2 steps"
)
for _epoch in loop.epochs(4):
    train(model, train_loader, optimizer)
    scores.append(test(model, test_loader))
    scheduler.step()
    loop.log(accuracy=scores[-1])
arrays = [one.numpy() for one in model.state_dict().values()]
np.savez("end.npz", np.array(scores), scheduler.get_last_lr(), *arrays)
