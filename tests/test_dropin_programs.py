"""Whole programs on medmnist and on the drop-in: what they print and what they write is equal."""

from __future__ import annotations

import shutil

import pytest

from mmtk.compat.medmnist import INFO
from tests.medmnists import WAYS, run_both, run_on, run_on_ours, script, write_npz
from tests.peers import torchvision
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

# torchvision has to be imported by the way that is known to work beside any build of torch
START = """
import runpy, sys
from tests.peers import torchvision
torchvision()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
EXAMPLES = {"getting started": GETTING_STARTED, "without PyTorch": WITHOUT_PYTORCH}


@pytest.fixture(params=EXAMPLES)
def example(request, tmp_path):
    torchvision()
    return script(tmp_path, EXAMPLES[request.param])


def run_each(program, flag, root, tmp_path):
    """What an example prints and writes, on medmnist and on the drop-in."""
    said, written = [], []
    for way in WAYS:
        folder = tmp_path / way
        folder.mkdir()
        done = run_on(way, "-c", START, program, flag, root, folder, home=tmp_path / "home")
        said.append(done.stdout.replace(str(folder), ""))
        files = (path for path in folder.rglob("*") if path.is_file())
        written.append({path.relative_to(folder): path.read_bytes() for path in files})
    return said, written


@pytest.mark.slow
def test_the_examples_print_and_write_what_they_do_on_medmnist(example, real_data, tmp_path):
    pytest.importorskip("medmnist")
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(real_data / "npz" / "breastmnist.npz", root)
    said, written = run_each(example, "breastmnist", root, tmp_path)
    assert said[0] == said[1]
    assert written[0] == written[1]
    assert [path.name for path in root.iterdir()] == ["breastmnist.npz"]


def test_the_examples_run_unchanged_on_a_small_store_of_several_labels(example, tmp_path):
    chest = {"flag": "chestmnist", "size": 28, "classes": 14, "task": MULTILABEL}
    write_small_store(tmp_path / "chestmnist_28.h5", (30, 6, 20), **chest)
    (tmp_path / "out").mkdir()
    said = run_on_ours("-c", START, example, "chestmnist", tmp_path, tmp_path / "out", home=tmp_path)
    said = [line for line in said.stdout.splitlines() if not line.startswith("Saving ")]
    if "Evaluator" in example.read_text():
        assert said[1].endswith("(chestmnist)")
        assert [line.split()[0] for line in said[-2:]] == ["train", "test"]
    else:
        assert said[0] == f"{560 * 560} 30"
        assert all(0 <= float(figure) <= 1 for figure in said[1].split())


CUBES = """
import sys
import numpy as np, torch
import torch.utils.data as data
from medmnist import INFO, Evaluator
import medmnist

flag, root, folder = sys.argv[1:]
torch.manual_seed(0); np.random.seed(0); torch.set_num_threads(1)
Kind = getattr(medmnist, INFO[flag]["python_class"])
train, test = (Kind(split=split, root=root, as_rgb=split == "train") for split in ("train", "test"))
print(train, len(train), train[3][0].dtype, train[3][0].shape, train[3][0].max(), test[0][0].shape)
train.montage(length=2, save_folder=folder)
test.imgs, test.labels = test.imgs[:5], test.labels[:5]
test.save(folder)
test = Kind(split="test", root=root, transform=lambda cube: torch.from_numpy(cube).float())
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 ** 3, len(INFO[flag]["label"])))
scores = torch.cat([model(cubes).softmax(1).detach() for cubes, _ in data.DataLoader(test, 64)])
print(Evaluator(flag, "test", root=root).evaluate(scores.numpy(), folder, "1"))
"""


@pytest.mark.parametrize("flag", ["organmnist3d", "fracturemnist3d", "vesselmnist3d"])
def test_programs_for_volumes_do_so_too(flag, tmp_path):
    pytest.importorskip("medmnist")
    pytest.importorskip("torch")
    facts = INFO[flag]
    counts = tuple(facts["n_samples"].values())
    write_npz(tmp_path / "root", flag, counts, shape=(4, 4, 4), classes=len(facts["label"]))
    said, written = run_each(script(tmp_path, CUBES), flag, tmp_path / "root", tmp_path)
    assert said[0] == said[1]
    assert written[0] == written[1]
    assert len(written[0]) == 1 + 5 + 1 + 1


# those that a person wrote to see the faults by; not part of the repository
PROGRAMS = [
    ["batch_auc.py"], ["import_all.py"], ["own_npz.py"], ["readonly.py", "ROOT"], ["silent.py"], ["tiny_npz.py"],
    *(["spawn.py", method, *more] for method in ("fork", "spawn", "forkserver") for more in ([], ["keep"])),
    *(["sub/main.py", method] for method in ("fork", "spawn", "forkserver", "joblib")),
]


@pytest.mark.slow
@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_programs_of_users_print_the_same(words, real_data, tmp_path):
    folder = real_data.parent / "dropin"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder.name} beside the real sample files")
    pytest.importorskip("torch")
    root = tmp_path / ".medmnist"
    root.mkdir()
    shutil.copy(real_data / "npz" / "breastmnist.npz", root)
    arguments = [root if word == "ROOT" else word for word in words[1:]]
    official, ours = run_both(folder / words[0], *arguments, home=tmp_path)
    assert official == ours
    assert ours.strip()
    assert [path.name for path in root.iterdir()] == ["breastmnist.npz"]
