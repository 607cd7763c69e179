"""A shuffled epoch after the first, in batches of 128, on one thread: ours beside PyTorch's own ways and MedMNIST's.

``TensorDataset`` holds the split as a tensor in memory; ``medmnist`` is the package's own dataset, which makes a PIL
image an item, given ``PILToTensor``, or, as in its scripts, ``ToTensor`` and ``Normalize``. ``C memcpy`` copies the
same rows in the same order into two buffers by turns and makes no tensors. ``images_per_second`` is in the extra info
(``--benchmark-verbose`` or JSON). Read the ratios within a group.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.copying import compile_copy
from mmtk import store
from mmtk.loader import ArrayBatches, Batches, SplitDataset, permutation
from mmtk.loader._dataset import Items
from tests.peers import torchvision
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch")
loading = pytest.importorskip("torch.utils.data")

BATCH = 128
COUNTS = {"28 grey": (20_000, 28, 1), "224 RGB": (640, 224, 3)}


class Normalised:
    """Batches that the training loop normalises."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __iter__(self):
        return ((images.float().div_(255).sub_(0.5).div_(0.5), labels) for images, labels in self.batches)


class Free:
    """A dataset whose batches cost nothing: the same one each time, as ours gives it."""

    def __init__(self, dataset: SplitDataset) -> None:
        self.n, self.items = len(dataset), dataset.__getitems__(range(BATCH))

    def __len__(self) -> int:
        return self.n

    def __getitems__(self, indices):
        return Items(self.items.images[: len(indices)], self.items.labels[: len(indices)])


def published():
    """The transform of MedMNIST's own scripts."""
    transforms = torchvision().transforms
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean=[0.5], std=[0.5])])


@pytest.fixture(scope="module", params=COUNTS)
def split(request, tmp_path_factory):
    n, size, channels = COUNTS[request.param]
    flag = {1: "breastmnist", 3: "pathmnist"}[channels]
    path = tmp_path_factory.mktemp("bench") / f"{flag}_{size}.h5"
    opened = store.open(write_small_store(path, (n, 2, 2), flag=flag, channels=channels, size=size))
    store.export_npz(opened, path.parent)
    return opened.train


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return compile_copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def epoch(batches) -> int:
    return sum(len(labels) for _, labels in batches)


def loader(dataset, **options):
    return loading.DataLoader(dataset, BATCH, shuffle=True, **options)


def in_memory(split: store.Split):
    images = torch.from_numpy(np.array(split.images if split.images.ndim == 4 else split.images[..., None]))
    return loading.TensorDataset(images.permute(0, 3, 1, 2), torch.from_numpy(split.labels[:, 0].astype(np.int64)))


def medmnist(split: store.Split, transform=None):
    package = pytest.importorskip("medmnist")
    kind = getattr(package, package.INFO[split.info.flag]["python_class"])
    transform = transform or torchvision().transforms.PILToTensor()
    dataset = kind("train", transform=transform, root=split.store_path.parent, size=split.info.size)
    dataset.info = {**dataset.info, "n_samples": {"train": len(split)}}  # it insists on the published number
    return dataset


def ours(split: store.Split) -> SplitDataset:
    return SplitDataset(split.store_path, "train")


def own(dataset, **options):
    return loader(dataset, collate_fn=SplitDataset.collate, **options)


WAYS = {
    "Batches": lambda split: Batches(split, BATCH, shuffle=True),
    "Batches in stored order": lambda split: Batches(split, BATCH),
    "Batches as NumPy arrays": lambda split: ArrayBatches(split, BATCH, shuffle=True),
    "TensorDataset + DataLoader": lambda split: loader(in_memory(split)),
    "medmnist + DataLoader": lambda split: loader(medmnist(split)),
    "medmnist + DataLoader as its scripts use it": lambda split: loader(medmnist(split, published())),
}
NORMALISED = {
    "Batches": lambda split: Batches(split, BATCH, shuffle=True, dtype="float32"),
    "Batches bfloat16": lambda split: Batches(split, BATCH, shuffle=True, dtype="bfloat16"),
    "TensorDataset + DataLoader": lambda split: Normalised(loader(in_memory(split))),
    "medmnist + DataLoader": lambda split: loader(medmnist(split, published())),
}
LOADERS = {
    "own collate": {
        "SplitDataset": lambda split: own(ours(split)),
        "medmnist": lambda split: loader(medmnist(split)),
        "medmnist as its scripts use it": lambda split: loader(medmnist(split, published())),
    },
    "default collate": {
        "SplitDataset": lambda split: loader(ours(split)),
        "TensorDataset": lambda split: loader(in_memory(split)),
    },
    "own collate, 2 workers": {
        "SplitDataset": lambda split: own(ours(split), num_workers=2, persistent_workers=True),
        "a dataset that costs nothing": lambda split: own(Free(ours(split)), num_workers=2, persistent_workers=True),
        "TensorDataset": lambda split: loader(in_memory(split), num_workers=2, persistent_workers=True),
    },
}


def measure(benchmark, split, kind, batches, rounds=3):
    benchmark.group = f"{kind}, {split.info.size} px, {split.info.channels} channels"
    slow = rounds == 1  # it has nothing to warm up, and would take most of the time
    found = benchmark.pedantic(epoch, (batches,), rounds=rounds, warmup_rounds=0 if slow else 1)
    assert found == len(split)
    benchmark.extra_info["images_per_second"] = round(len(split) / benchmark.stats.stats.median)


@pytest.mark.parametrize("way", [*WAYS, "C memcpy, prefetching"])
def test_uint8(benchmark, split, copy, way):
    if way in WAYS:
        measure(benchmark, split, "uint8 epoch", WAYS[way](split), 1 if "medmnist" in way else 3)
        return
    buffers = [np.empty((BATCH, *split.images.shape[1:]), np.uint8) for _ in range(2)]
    width = split.images[0].size

    class Copies:
        def __iter__(self):
            order = permutation(len(split), 0, 0)
            for number, start in enumerate(range(0, len(split), BATCH)):
                rows, out = order[start : start + BATCH], buffers[number % 2]
                copy(split.images.ctypes.data, rows.ctypes.data, len(rows), width, out.ctypes.data)
                yield out, rows

    measure(benchmark, split, "uint8 epoch", Copies())


@pytest.mark.parametrize("way", NORMALISED)
def test_normalised(benchmark, split, way):
    measure(benchmark, split, "normalised epoch", NORMALISED[way](split), 1 if "medmnist" in way else 3)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("kind", "way"), [(kind, way) for kind, ways in LOADERS.items() for way in ways])
def test_dataloader(benchmark, split, kind, way):
    if split.info.size != 28:
        pytest.skip("shown at 28 px")
    measure(benchmark, split, f"DataLoader, {kind}", LOADERS[kind][way](split), 1 if "medmnist" in way else 3)
