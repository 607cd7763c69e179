"""One training epoch of ResNet-18 at 28 px, batch 128: mmtk's way beside the published script's, in one run.

The script's way: a map-style dataset whose items go through PIL and a transform each, a DataLoader that collates them,
and the usual memory order of tensors. The model, loss and optimiser are the same. ``images_per_second`` is in the
extra info (``--benchmark-verbose`` or JSON) and printed with ``-s``.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmtk import store
from mmtk.loader import Batches
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import build_model  # noqa: E402

CYCLES = 3
IMAGES, BATCH = 256, 128


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> store.Split:
    path = tmp_path_factory.mktemp("train") / "noise_28.h5"
    return store.open(write_small_store(path, (IMAGES, 2, 2), size=28)).train


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


@pytest.mark.parametrize("way", ["mmtk", "script"])
def test_epoch(benchmark, split, way):
    torch.manual_seed(0)
    model = build_model("resnet18", 1, 2).train()
    if way == "mmtk":
        model = model.to(memory_format=torch.channels_last)
        batches = Batches(split, BATCH, shuffle=True, dtype="float32")
    else:
        batches = torch.utils.data.DataLoader(_ScriptDataset(split), BATCH, shuffle=True)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    loss_of = torch.nn.CrossEntropyLoss()

    def epoch() -> None:
        for images, labels in batches:
            optimiser.zero_grad()
            loss_of(model(images), labels.reshape(-1).long()).backward()
            optimiser.step()

    benchmark.pedantic(epoch, rounds=1, warmup_rounds=1)
    if benchmark.stats is not None:
        rate = IMAGES / benchmark.stats.stats.median
        benchmark.extra_info["images_per_second"] = round(rate, 1)
        print(f"{way}: {rate:.1f} images/s")
