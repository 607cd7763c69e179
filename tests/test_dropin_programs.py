"""Whole programs on medmnist and on the drop-in: what they print and what they write is equal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mmtk import store
from tests.medmnists import run_both, run_on_ours, script
from tests.small_stores import MULTILABEL, write_small_store

pytest.importorskip("PIL")

# The package's examples, each as a script written anew: flag, root and a folder for what it writes are its arguments.
GETTING_STARTED = '''
import os, sys
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
import torch.utils.data as data
import torchvision.transforms as transforms
import medmnist
from medmnist import INFO, Evaluator

flag, root, folder = sys.argv[1:]
torch.manual_seed(0)
np.random.seed(0)
torch.set_num_threads(1)
print(f"MedMNIST v{medmnist.__version__} @ {medmnist.HOMEPAGE}")
info = INFO[flag]
several = info["task"] == "multi-label, binary-class"
DataClass = getattr(medmnist, info["python_class"])
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean=[.5], std=[.5])])
train = DataClass(split="train", transform=transform, download=False, root=root)
test = DataClass(split="test", transform=transform, download=False, root=root)
pictures = DataClass(split="train", download=False, root=root, as_rgb=True)
print(train)
print("===================")
print(test)
image, label = pictures[3]
print(type(image).__name__, image.mode, image.size, label, label.dtype)
train.montage(length=1)
print(train.montage(length=5, save_folder=folder).size)
test.save(folder)
train_loader = data.DataLoader(dataset=train, batch_size=32, shuffle=True)
train_again = data.DataLoader(dataset=train, batch_size=64, shuffle=False)
test_loader = data.DataLoader(dataset=test, batch_size=64, shuffle=False)
model = nn.Sequential(
    nn.Conv2d(info["n_channels"], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
    nn.Linear(8 * 6 * 6, len(info["label"])),
)
criterion = nn.BCEWithLogitsLoss() if several else nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
for epoch in range(2):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets.to(torch.float32) if several else targets.squeeze().long())
        loss.backward()
        optimizer.step()
model.eval()
for split, loader in (("train", train_again), ("test", test_loader)):
    scores = torch.tensor([])
    with torch.no_grad():
        for inputs, targets in loader:
            outputs = model(inputs)
            scores = torch.cat((scores, outputs.sigmoid() if several else outputs.softmax(dim=-1)), 0)
    metrics = Evaluator(flag, split, root=root).evaluate(scores.numpy(), folder, "1")
    print("%s  auc: %r  acc: %r" % (split, *map(float, metrics)))
'''
WITHOUT_PYTORCH = '''
import random, sys
import numpy as np
import medmnist
from medmnist.dataset import BreastMNIST, ChestMNIST, OrganMNISTAxial
from medmnist.evaluator import getACC, getAUC
from medmnist.info import DEFAULT_ROOT, HOMEPAGE, INFO

flag, root, folder = sys.argv[1:]
info = INFO[flag]
DataClass = {"breastmnist": BreastMNIST, "chestmnist": ChestMNIST, "organamnist": OrganMNISTAxial}[flag]

def batches(dataset, size):
    order = list(range(len(dataset)))
    random.Random(0).shuffle(order)
    for start in range(0, len(order), size):
        items = [dataset[row] for row in order[start:start + size]]
        yield np.array([np.array(image) for image, _ in items]), np.array([label for _, label in items])

np.random.seed(0)
train, test = (DataClass(split=split, root=root, download=False) for split in ("train", "test"))
print(len(train.montage(length=20, replace=True).tobytes()), sum(1 for _ in train))
total = seen = 0
for images, labels in batches(train, 128):
    total, seen = total + (images / 255 * (labels[:, :1, None] * 2.0 - 1)).sum(0), seen + len(images)
scores = 1 / (1 + np.exp(-(test.imgs / 255 * total).sum((1, 2)) / seen))
scores = np.repeat(scores[:, None], test.labels.shape[1], axis=1)
truth = test.labels.astype(float)
print(float(getAUC(truth, scores, info["task"])), float(getACC(truth, scores, info["task"])))
'''

EXAMPLES = {"getting started": GETTING_STARTED, "without PyTorch": WITHOUT_PYTORCH}


@pytest.fixture(params=EXAMPLES)
def example(request, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    return script(tmp_path, EXAMPLES[request.param])


def test_the_examples_print_and_write_what_they_do_on_medmnist(example, real_data, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(real_data / "npz", home, ignore=lambda _, names: set(names) - {"breastmnist.npz"})
    written = []
    for number in ("0", "1"):
        (tmp_path / "out").mkdir(exist_ok=True)
        said = run_both(example, "breastmnist", home, tmp_path / "out", home=home)
        assert said[0] == said[1], number
    files = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    written.append(files)
    assert [path.name for path in home.iterdir() if path.is_file()] == ["breastmnist.npz"]
