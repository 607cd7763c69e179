"""One epoch of ResNet-18 at 28 px, batch 128, validation and its AUC included: mmtk's beside the published script's.

The script's way: a map-style dataset whose items go through PIL and a transform each, a DataLoader that collates them,
float32 in the usual memory order of tensors, the loss asked for after each batch, scores collected batch by batch.
Model, loss, optimiser and batches are the same. ``images_per_second`` counts those trained on; it is in the extra info
(JSON) and printed with ``-s``.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from mmtk import store
from mmtk.training import get_protocol
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import _fit, build_model  # noqa: E402
from mmtk.training._distributed import World  # noqa: E402

CYCLES = 3
IMAGES, VALIDATED = 256, 64
PROTOCOL = get_protocol("isbi21")


@pytest.fixture(scope="module", autouse=True)
def all_cores():
    """Train on every core, as a run does."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> store.Store:
    path = tmp_path_factory.mktemp("train") / "noise_28.h5"
    return store.open(write_small_store(path, (IMAGES, VALIDATED, 2), size=28))


class _ScriptDataset(torch.utils.data.Dataset):
    """MedMNIST's dataset with ToTensor and Normalize as torchvision writes them."""

    def __init__(self, split: store.Split) -> None:
        self.images, self.labels = split.images, split.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        picture = Image.fromarray(self.images[index])
        tensor = torch.from_numpy(np.array(picture, copy=True))[None].to(torch.float32).div(255)
        return tensor.sub_(0.5).div_(0.5), self.labels[index].astype(int)


def script(opened: store.Store):
    """The published script's epoch."""
    torch.manual_seed(0)
    model = build_model("resnet18", 1, 2)
    train = torch.utils.data.DataLoader(_ScriptDataset(opened.train), PROTOCOL.batch_size, shuffle=True)
    val = torch.utils.data.DataLoader(_ScriptDataset(opened.val), PROTOCOL.batch_size)
    optimiser = torch.optim.SGD(model.parameters(), lr=PROTOCOL.learning_rate, momentum=PROTOCOL.momentum)
    criterion = torch.nn.CrossEntropyLoss()

    def epoch() -> None:
        losses = []
        model.train()
        for images, labels in train:
            optimiser.zero_grad()
            loss = criterion(model(images), labels.squeeze().long())
            losses.append(loss.item())
            loss.backward()
            optimiser.step()
        model.eval()
        true, scores = torch.tensor([]), torch.tensor([])
        with torch.no_grad():
            for images, labels in val:
                scores = torch.cat((scores, torch.softmax(model(images), dim=1)), 0)
                true = torch.cat((true, labels.float()), 0)
        assert 0 <= roc_auc_score(true.numpy().squeeze(), scores.numpy()[:, -1]) <= 1

    return epoch


def mmtk(opened: store.Store, precision: str, out):
    """An epoch of `fit`."""
    run = _fit._Run(opened, PROTOCOL, "resnet18", out, 0, 100, 28, precision, World(0, 1, "cpu"))
    network = _fit.Network(run.model, 28, PROTOCOL, precision)
    optimiser = _fit.make_optimiser(run.model, PROTOCOL, "cpu")
    step = _fit.plain_step(network, run.objective, optimiser)
    return lambda: run._epoch(1, step, optimiser, None)


@pytest.mark.parametrize("way", ["mmtk bfloat16", "mmtk float32", "script"])
def test_epoch(benchmark, opened, tmp_path, way):
    epoch = script(opened) if way == "script" else mmtk(opened, way.partition(" ")[2], tmp_path)
    benchmark.group = "epoch of ResNet-18 at 28 px, batch 128"
    benchmark.pedantic(epoch, rounds=1, warmup_rounds=1)
    if benchmark.stats is not None:
        rate = IMAGES / benchmark.stats.stats.median
        benchmark.extra_info["images_per_second"] = round(rate, 1)
        print(f"{way}: {rate:.1f} images/s")
