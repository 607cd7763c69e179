"""Augmentation: torchvision's operations, drawn for each image, the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError
from mmtk.loader import Augmentation, Batches
from mmtk.loader._augment import crop, jitter, rotate
from tests.peers import torchvision
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def functional():
    torchvision()
    return pytest.importorskip("torchvision.transforms.v2.functional")


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "rgb"])
def images(request):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.randint(0, 256, (6, request.param, 5, 6), generator=generator).float(), (28, 32), mode="bilinear"
    )
    return smooth.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def test_each_image_is_turned_as_torchvision_turns_it(functional, images):
    angles = torch.tensor([0.0, 12.5, -90.0, 45.0, 180.0, -3.0])
    found = rotate(images, angles)
    for one, image, angle in zip(found, images, angles.tolist(), strict=True):
        expected = functional.rotate(image, angle, interpolation=functional.InterpolationMode.BILINEAR)
        assert (one.int() - expected.int()).abs().max() <= 1
    assert torch.equal(found[0], images[0])


def test_each_image_is_cut_from_its_own_place(functional, images):
    down, right = torch.tensor([0, 1, 2, 3, 4, 8]), torch.tensor([8, 4, 0, 1, 7, 2])
    found = crop(images, 4, down, right)
    for one, image, top, left in zip(found, images, down.tolist(), right.tolist(), strict=True):
        assert torch.equal(one, functional.crop(functional.pad(image, [4]), top, left, 28, 32))


def test_volumes_are_flipped_and_cut_along_every_axis_and_not_rotated(tmp_path):
    volumes = torch.randint(1, 256, (5, 1, 4, 6, 7), dtype=torch.uint8)
    for name, axis in (("horizontal", 4), ("vertical", 3)):
        assert torch.equal(Augmentation(**{"horizontal": 0.0, name: 1.0})(volumes), volumes.flip(axis))
    shifts = [torch.tensor(values) for values in ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3], [2, 2, 3, 0, 4])]
    padded = torch.nn.functional.pad(volumes, [2] * 6)
    for one, whole, inward, down, right in zip(crop(volumes, 2, *shifts), padded, *shifts, strict=True):
        assert torch.equal(one, whole[:, inward : inward + 4, down : down + 6, right : right + 7])
    moved = Augmentation(horizontal=0.0, padding=1)(volumes.expand(-1, -1, -1, -1, -1).repeat(60, 1, 1, 1, 1))
    black = [(moved == 0).all(dim=dims).float().mean(0) for dims in ((1, 3, 4), (1, 2, 4), (1, 2, 3))]
    for along in black:  # a third each way
        assert along[[0, -1]].tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.12)
        assert not along[1:-1].any()
    split = store.open(write_small_store(tmp_path / "v.h5", (9, 2, 2), ndim=3)).train
    images, _ = next(iter(Batches(split, 9, augment=Augmentation(padding=1, colour=0.5), dtype="float32")))
    assert images.is_contiguous(memory_format=torch.channels_last_3d)
    with pytest.raises(ArgumentError, match="rotation: is not available for volumes; found 5"):
        Batches(split, 9, augment=Augmentation(rotation=5))


def test_each_image_is_coloured_as_torchvision_colours_it(functional, images):
    if images.shape[1] == 1:
        pytest.skip("grey images keep their grey")
    factors = torch.tensor([
        [1.0, 0.8, 1.2, 1.0, 0.7, 1.3], [1.0, 1.1, 0.9, 0.6, 1.0, 1.4], [1.0, 0.5, 1.5, 1.0, 1.2, 0.9],
    ])
    found = jitter(images, *factors)
    for one, image, (brightness, contrast, saturation) in zip(found, images, factors.T.tolist(), strict=True):
        expected = functional.adjust_brightness(image, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        assert (one.int() - expected.int()).abs().max() <= 2
    assert torch.equal(found[0], images[0])


def test_flips_come_in_their_share_and_are_flips(images):
    many = images[:1].expand(400, -1, -1, -1)
    for name, axis in (("horizontal", 3), ("vertical", 2)):
        found = Augmentation(**{"horizontal": 0.0, name: 0.25})(many, torch.Generator().manual_seed(1))
        flipped = (found == many.flip(axis)).flatten(1).all(1)
        assert ((found == many).flatten(1).all(1) | flipped).all()
        assert float(flipped.float().mean()) == pytest.approx(0.25, abs=0.07)


def test_batches_augment_the_same_from_the_same_seed_and_other_epochs_otherwise(tmp_path):
    split = store.open(write_small_store(tmp_path / "s.h5", (40, 2, 2), channels=3, size=12)).train
    everything = Augmentation(vertical=0.5, rotation=20, padding=2, colour=0.3)
    torchvision()
    transforms = pytest.importorskip("torchvision.transforms.v2")
    for augment in (everything, transforms.RandomErasing(p=1.0)):
        for dtype in ("uint8", "float32", "bfloat16"):
            loops = [
                Batches(split, 16, shuffle=True, seed=5, dtype=dtype, augment=augment, **way)
                for way in ({}, {"resident": True}, {"threads": 2})
            ]
            before = torch.random.get_rng_state()
            first, *others = [[images for images, _ in loop] for loop in loops]
            assert torch.equal(torch.random.get_rng_state(), before)
            for other in others:
                assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
            assert first[0].dtype == getattr(torch, dtype)
            assert first[0].is_contiguous(memory_format=torch.channels_last)
            loops[0].set_epoch(1)
            assert not torch.equal(next(iter(loops[0]))[0], first[0])
            state = {**loops[1].state_dict(), "epoch": 0, "position": 2}
            loops[1].load_state_dict(state)
            assert torch.equal(next(iter(loops[1]))[0], first[2])


def test_augmented_pixels_are_normalised_like_others(tmp_path):
    split = store.open(write_small_store(tmp_path / "s.h5", (9, 2, 2))).train
    plain, _ = next(iter(Batches(split, 9, dtype="float32")))
    same, _ = next(iter(Batches(split, 9, dtype="float32", augment=Augmentation(horizontal=0))))
    assert torch.equal(plain, same)
    flipped, _ = next(iter(Batches(split, 9, dtype="float32", augment=Augmentation(horizontal=1))))
    assert torch.equal(plain.flip(3), flipped)
    assert split.images.flags.writeable
    assert np.array_equal(split.images, store.open(split.store_path).train.images)


def test_no_generator_but_the_used_one_is_seeded(tmp_path, monkeypatch):
    """torch.manual_seed would seed those of all CUDA devices too, where dropout draws from, and leave them so."""
    split = store.open(write_small_store(tmp_path / "s.h5", (9, 2, 2))).train
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    noise = [[torch.rand(3).tolist() for _ in Batches(split, 4, augment=lambda images: images)] for _ in range(2)]
    assert noise[0] != noise[1]
    drawn = [images for images, _ in Batches(split, 4, augment=lambda x: x * (torch.rand(len(x), 1, 1, 1) < 0.5))]
    again = [images for images, _ in Batches(split, 4, augment=lambda x: x * (torch.rand(len(x), 1, 1, 1) < 0.5))]
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert seeded == []


@pytest.mark.parametrize("change", [{"horizontal": 1.5}, {"rotation": -1}, {"padding": -2}, {"colour": 3}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ArgumentError, match="expected 0 to"):
        Augmentation(**change)
