"""How volumes lie, against nibabel: every order of axes, oblique ones, and headers that contradict themselves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mmtk.imaging import probe_volume, read_volume, turn_volume
from mmtk.imaging._axes import axes_of

nib = pytest.importorskip("nibabel")

ORDERS = ["".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in
          itertools.product(*order)]
SPACING = (0.5, 0.75, 2.5)


def affine_of(axes: str, spacing=SPACING) -> np.ndarray:
    """As nibabel has it: columns are steps towards right, anterior, superior."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for at, letter in enumerate(axes):
        affine["LRPAIS".index(letter) // 2, at] = spacing[at] * (1 if letter in "RAS" else -1)
    affine[:3, 3] = (-30, 20, 700)
    return affine


def turned(image) -> np.ndarray:
    """An image's voxels with x to the left, y to the back and z up, by nibabel."""
    return np.asarray(nib.as_closest_canonical(image).dataobj)[::-1, ::-1]


def noise(shape=(4, 5, 6), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 3000, shape).astype(np.int16)


@pytest.mark.parametrize("axes", ORDERS)
def test_every_slice_in_every_order_of_axes_is_nibabels(tmp_path: Path, axes: str) -> None:
    image = nib.Nifti1Image(noise(), affine_of(axes))
    nib.save(image, tmp_path / "a.nii")
    volume, header = read_volume(tmp_path / "a.nii"), probe_volume(tmp_path / "a.nii")
    assert volume.axes == header.axes == "".join(nib.aff2axcodes(image.affine)) == axes
    assert np.array_equal(turn_volume(volume), turned(image))
    assert np.shares_memory(turn_volume(volume), volume.voxels)
    assert header.turned_shape == turned(image).shape
    closest = nib.as_closest_canonical(image).header.get_zooms()
    assert volume.turned_spacing == header.turned_spacing == pytest.approx(closest)
    assert axes_of(volume.signs) == (axes if axes[0] in "RL" and axes[1] in "AP" else "")


def test_there_are_48_orders() -> None:
    assert len(set(ORDERS)) == 48
