"""Transforms of other libraries on items and batches."""

from __future__ import annotations

import numpy as np
import pytest

from mmtk import store
from mmtk.loader import Batches, SplitDataset
from tests.small_stores import write_small_store


def test_torchvision_v2_turns_items_and_batches(coloured):
    import torch
    from torchvision.transforms import v2

    flip = v2.RandomHorizontalFlip(p=1.0)
    scaled = v2.Compose([flip, v2.ToDtype(torch.float32, scale=True)])
    image, label = SplitDataset(coloured.path, "train", transform=scaled)[3]
    turned = coloured.train.images[:, :, ::-1]
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), turned[3] / np.float32(255), rtol=1e-6)
    assert int(label) == coloured.train.labels[3, 0]

    images, labels = next(iter(Batches(coloured.train, 5, augment=flip)))
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), turned[:5])
    np.testing.assert_array_equal(labels.numpy(), coloured.train.labels[:5, 0])


def test_torchvision_v2_takes_the_drop_ins_pictures(small):
    import torch
    from torchvision.transforms import v2

    from mmtk.compat import medmnist

    pytest.importorskip("PIL", reason="pillow is not installed")

    class Small(medmnist.BreastMNIST):
        available_sizes = (8,)

    upright = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Resize((16, 16))])
    data = Small("train", root=small.path.parent, size=8, transform=upright, as_rgb=True)
    image, label = data[4]
    assert tuple(image.shape) == (3, 16, 16)
    assert abs(float(image.mean()) - small.train.images[4].mean() / 255) < 0.05
    np.testing.assert_array_equal(label, small.train.labels[4])


def test_monai_transforms_caches_and_collates(small):
    monai = pytest.importorskip("monai", reason="MONAI is not installed")
    from monai import transforms

    ready = transforms.Compose([transforms.ScaleIntensityRange(0, 255, 0.0, 1.0), transforms.Rotate90(k=2)])
    data = SplitDataset(small.path, "train", transform=ready)
    turned = small.train.images[:, ::-1, ::-1] / np.float32(255)
    loader = monai.data.DataLoader(data, batch_size=8)
    images, labels = (np.concatenate([np.asarray(batch[part]) for batch in loader]) for part in (0, 1))
    np.testing.assert_allclose(images[:, 0], turned, rtol=1e-6)
    np.testing.assert_array_equal(labels, small.train.labels[:, 0])

    items = [{"image": image, "label": label} for image, label in SplitDataset(small.path, "val")]
    turn = transforms.Compose([transforms.Rotate90d("image", k=2), transforms.CastToTyped("image", np.float32)])
    cached = monai.data.CacheDataset(items, turn, progress=False)
    np.testing.assert_array_equal(cached[2]["image"][0], small.val.images[2, ::-1, ::-1])
    assert int(cached[2]["label"]) == small.val.labels[2, 0]


@pytest.mark.parametrize("through", ["store", "drop-in"])
def test_monai_turns_volumes(tmp_path, through):
    pytest.importorskip("monai", reason="MONAI is not installed")
    from monai import transforms

    from mmtk.compat import medmnist

    size = 8 if through == "store" else 28
    facts = {"flag": "organmnist3d", "task": "multi-class", "classes": 11, "ndim": 3, "size": size}
    opened = store.open(write_small_store(tmp_path / f"organmnist3d_{size}.h5", (12, 3, 3), **facts))
    turn = transforms.Compose([transforms.Rotate90(spatial_axes=(0, 1)), transforms.CastToType(np.float32)])
    if through == "store":
        data = SplitDataset(opened.path, "train", transform=turn)
        expected = opened.train.images[5]
    else:
        data = medmnist.OrganMNIST3D("train", root=tmp_path, transform=turn)
        expected = opened.train.images[5] / np.float64(255)
    volume, label = data[5]
    np.testing.assert_allclose(np.asarray(volume)[0], np.rot90(expected, axes=(0, 1)), rtol=1e-6)
    assert int(np.ravel(label)[0]) == opened.train.labels[5, 0]
