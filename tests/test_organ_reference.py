"""The reference alone, against the official OrganAMNIST: volume 44 bit for bit, and of the others what boxes say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from tests import lits44, reference

FACTORS = (0.7031 / 2, 0.7031 / 2, 2.5)
# axial images of 28 px whose last row, or last column, lies beyond the box and is HU 0: grey level 113
FILLED = {("train", 0): 335, ("train", 1): 418, ("val", 0): 57, ("val", 1): 40, ("test", 0): 105, ("test", 1): 278}


@pytest.fixture(scope="module")
def official(real_data):
    path = real_data / "npz/organamnist.npz"
    if not path.is_file():
        pytest.skip("the official OrganAMNIST is not here")
    with np.load(path) as file:
        return dict(file)


def filled(n, extent):
    """Whether zoom's last coordinate, of `extent` over `n` voxels, rounds to one beyond the last voxel."""
    return extent > 1 and (extent - 1) * ((n - 1) / (extent - 1)) > n - 1


def test_volume_44_stands_in_the_official_file(real_data, official):
    voxels, boxes = lits44.volume(real_data), lits44.boxes(real_data)
    rows = lits44.official_rows(real_data)
    grids = {organ: reference.organ_grid(voxels, box) for organ, box in boxes.items()}
    found = {
        (organ, j): (row, label) for row, organ, j, label in rows
        if np.array_equal(reference.organ_image(grids[organ], "axial", j, 28), official["train_images"][row])
    }
    assert len(found) == len(rows) == 127
    wanted = {(organ, j) for organ, grid in grids.items() for j in reference.organ_slices(grid.shape[2], "axial")}
    assert set(found) == wanted
    for (organ, _), (row, label) in found.items():
        assert lits44.ORGANS[label] == organ
        assert official["train_labels"][row, 0] == label


def test_the_boxes_alone_say_which_images_have_a_filled_edge(real_data, official):
    predicted, totals = Counter(), Counter()
    for (part, number), boxes in lits44.all_boxes(real_data).items():
        split = "test" if part == "test" else "train" if number < 115 else "val"
        for organ, box in boxes.items() if (part, number) != ("test", 59) else ():
            sides = [high - low for low, high in zip(box[::2], box[1::2], strict=True)]
            extents = [round(n * factor) for n, factor in zip(sides, FACTORS, strict=True)]
            images = len(reference.organ_slices(extents[2], "axial"))
            totals[split] += images
            for axis in (0, 1):
                seen = reference.nearest_taps(extents[axis], 28)[-1] == extents[axis] - 1  # not in grids above 56
                if filled(sides[axis], extents[axis]) and seen:
                    predicted[split, axis, lits44.ORGANS.index(organ)] += images
    assert totals == {"train": 34581, "val": 6491, "test": 17778}
    for (split, axis), total in FILLED.items():
        edges = np.take(official[f"{split}_images"], -1, axis=axis + 1)
        labels = official[f"{split}_labels"][(edges == 113).all(axis=1), 0]
        counted = [int((labels == label).sum()) for label in range(11)]
        assert counted == [predicted[split, axis, label] for label in range(11)], (split, axis)
        assert sum(counted) == total


def test_zoom_fills_the_edge_where_its_last_coordinate_rounds_up():
    for factor in (FACTORS[0], FACTORS[2]):
        for n in range(2, 513):
            line = ndimage.zoom(np.full(n, 500, np.int16), factor, order=3)
            assert line.size == round(n * factor)
            assert (line[-1] == 0) == filled(n, line.size), n


def test_nearest_is_pillows():
    image = pytest.importorskip("PIL.Image")
    for n in (*range(1, 130), 333, 420):
        pixels = np.arange(3 * n).astype(np.uint8).reshape(n, 3)  # one column of colours: more than 256 tell apart
        column = image.fromarray(pixels[:, None]).resize((1, 28), image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(column)[:, 0], pixels[reference.nearest_taps(n, 28)]), n
    centres = {n: [int((i + 0.5) * n / 28) for i in range(28)] for n in range(1, 420)}
    assert sum(reference.nearest_taps(n, 28) != centres[n] for n in centres) == 33
    grey = np.random.default_rng(0).integers(0, 256, (31, 95)).astype(np.uint8)
    small = image.fromarray(grey).resize((28, 28), image.Resampling.NEAREST)
    assert np.array_equal(reference.nearest(grey, (28, 28)), np.asarray(small))


def test_larger_sizes_are_bilinear_and_rounded():
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    grid = rng.integers(0, 256, (23, 31, 12)).astype(np.uint8)
    for plane, slice_ in (("axial", grid[:, :, 8]), ("coronal", grid[:, 8]), ("sagittal", grid[8])):
        for size in (64, 128, 224):
            large = image.fromarray(slice_).resize((size, size), image.Resampling.BILINEAR)
            assert np.array_equal(reference.organ_image(grid, plane, 8, size), np.asarray(large))
    colours = rng.integers(0, 256, (50, 50, 3)).astype(np.uint8)
    assert np.array_equal(reference.rounded_grey(colours), np.asarray(image.fromarray(colours).convert("L")))


def test_the_nifti_file_is_read_as_it_was_meant(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    voxels = np.random.default_rng(2).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    (tmp_path / "a.nii").write_bytes(lits44.nifti(voxels))
    image = sitk.ReadImage(str(tmp_path / "a.nii"))
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), voxels)
    assert image.GetDirection() == (1, 0, 0, 0, -1, 0, 0, 0, 1)  # towards left, anterior, superior
    np.testing.assert_allclose(image.GetSpacing(), lits44.SPACING)
