"""A shuffled epoch after the first, in batches of 128, on one thread: ours beside PyTorch's own ways and MedMNIST's.

``TensorDataset`` holds the split as a tensor in memory; MedMNIST's way makes a PIL image an item and normalises it by
itself. ``images_per_second`` is in the extra info (``--benchmark-verbose`` or JSON). Read the ratios within a group.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmtk import store
from mmtk.loader import Batches, SplitDataset
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch")
loading = pytest.importorskip("torch.utils.data")

BATCH = 128
COUNTS = {"28 grey": (20_000, 28, 1), "224 rgb": (640, 224, 3)}


class PillowItems:
    """An item as ``medmnist`` and torchvision's ToTensor and Normalize make it."""

    def __init__(self, split: store.Split, normalise: bool) -> None:
        self.split, self.normalise = split, normalise

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, np.ndarray]:
        picture, target = Image.fromarray(self.split.images[index]), self.split.labels[index].astype(int)
        array = np.array(picture)
        tensor = torch.from_numpy(array[..., None] if array.ndim == 2 else array).permute(2, 0, 1).contiguous()
        return tensor.float().div(255).sub_(0.5).div_(0.5) if self.normalise else tensor, target


class Normalised:
    """Batches that the training loop normalises."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __iter__(self):
        return ((images.float().div_(255).sub_(0.5).div_(0.5), labels) for images, labels in self.batches)


@pytest.fixture(scope="module", params=COUNTS)
def split(request, tmp_path_factory):
    n, size, channels = COUNTS[request.param]
    path = tmp_path_factory.mktemp("bench") / f"{request.param}.h5"
    return store.open(write_small_store(path, (n, 2, 2), channels=channels, size=size)).train


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def epoch(batches) -> int:
    return sum(len(labels) for _, labels in batches)


def tensor_batches(split: store.Split):
    images = torch.from_numpy(np.array(split.images if split.images.ndim == 4 else split.images[..., None]))
    dataset = loading.TensorDataset(images.permute(0, 3, 1, 2), torch.from_numpy(split.labels[:, 0].astype(np.int64)))
    return loading.DataLoader(dataset, BATCH, shuffle=True)


WAYS = {
    "Batches": lambda split: Batches(split, BATCH, shuffle=True),
    "Batches in stored order": lambda split: Batches(split, BATCH),
    "SplitDataset + DataLoader": lambda split: loading.DataLoader(
        SplitDataset(split.store_path, "train"), BATCH, shuffle=True
    ),
    "TensorDataset + DataLoader": tensor_batches,
    "PIL an item + DataLoader": lambda split: loading.DataLoader(PillowItems(split, False), BATCH, shuffle=True),
}
NORMALISED = {
    "Batches": lambda split: Batches(split, BATCH, shuffle=True, dtype="float32"),
    "Batches bfloat16": lambda split: Batches(split, BATCH, shuffle=True, dtype="bfloat16"),
    "TensorDataset + DataLoader": lambda split: Normalised(tensor_batches(split)),
    "PIL an item + DataLoader": lambda split: loading.DataLoader(PillowItems(split, True), BATCH, shuffle=True),
}


def measure(benchmark, split, kind, make):
    benchmark.group = f"{kind} epoch, {split.info.size} px, {split.info.channels} channels"
    found = benchmark.pedantic(epoch, (make(split),), rounds=5, warmup_rounds=1)
    assert found == len(split)
    benchmark.extra_info["images_per_second"] = round(len(split) / benchmark.stats.stats.min)


@pytest.mark.parametrize("way", WAYS)
def test_uint8(benchmark, split, way):
    measure(benchmark, split, "uint8", WAYS[way])


@pytest.mark.parametrize("way", NORMALISED)
def test_normalised(benchmark, split, way):
    measure(benchmark, split, "normalised", NORMALISED[way])
