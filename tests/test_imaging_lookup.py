"""Codes through tables and organs' boxes: what NumPy gives, in less time and memory."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mmtk.imaging import boxes_of, turn_box, turn_volume
from mmtk.imaging._axes import Volume
from mmtk.imaging._lookup import look_up
from mmtk.imaging._window import _percentiles
from tests.commands import peak_of
from tests.test_imaging_volume import nifti


@pytest.mark.parametrize("bits", [1, 2, 8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("step", [1, -1, 0, 3, -7])
def test_a_line_is_walked_as_its_table_says(bits: int, signed: bool, step: int) -> None:
    numbers = np.arange(1 << bits)
    if signed:
        numbers = np.where(numbers >> bits - 1, numbers - (1 << bits), numbers)
    table = (numbers * step - 1024).astype(np.int16)  # wraps where it does not fit, and so must the line
    codes = np.random.default_rng(0).integers(0, 1 << bits, (300, 257)).astype(np.uint8 if bits <= 8 else np.uint16)
    found = look_up(table, codes)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, table[codes])


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8, np.uint16])
@pytest.mark.parametrize("bent", [1, 2047, 2048, 4095])
def test_a_table_that_is_no_line_is_looked_up(kind: type, bent: int) -> None:
    table = (np.arange(4096) % 256).astype(kind) if kind is np.uint8 else np.arange(4096).astype(kind)
    table[bent] = 3
    codes = np.random.default_rng(1).permutation(1 << 17).astype(np.uint16) & np.uint16(4095)
    out = np.empty(codes.shape, kind)
    assert look_up(table, codes, out) is out
    np.testing.assert_array_equal(out, table[codes])
    np.testing.assert_array_equal(look_up(table, codes[:0]), table[:0])


def test_a_look_up_takes_little_more_than_its_result() -> None:
    first = "from mmtk.imaging._lookup import look_up\ncodes = numpy.ones((8192, 8192), numpy.uint16)\n" \
            "table = numpy.arange(4096, dtype=numpy.int16)\nbent = table ** 2"
    for table in ("table", "bent"):
        peak, line = peak_of(f"look_up({table}, codes)", "none", first=first)
        assert line == "read"
        assert peak < 128 + 8


VALUES = {
    "int16": np.random.default_rng(2).normal(0, 300, 999).astype(np.int16),
    "big-endian": np.random.default_rng(3).normal(0, 300, 1000).astype(">i2"),
    "16 bits": np.random.default_rng(4).integers(0, 1 << 16, (70, 1000)).astype(np.float32),
    "broken": np.random.default_rng(5).normal(0, 3, (30, 31)).astype(np.float32),
    "negative": -np.arange(500, dtype=np.float32),
    "single": np.full((1, 1), 7, np.int16),
    "strided": np.random.default_rng(6).integers(-99, 99, (40, 50, 60)).astype(np.int16).T[::2, ::-1],
    "ends": np.array([-32768, -32768, 32767, 0], np.int16),
}


@pytest.mark.parametrize("name", VALUES)
def test_percentiles_are_numpys(name: str) -> None:
    values = VALUES[name]
    for shares in ((0.0, 100.0), (0.5, 99.5), (1.0, 99.0), (33.3, 66.7), (49.9, 50.1), (25.0, 75.0)):
        wide = values.astype(np.int64) if values.dtype.kind == "i" else values  # in which no difference wraps
        assert _percentiles(values, shares) == np.percentile(wide, shares).tolist()
    assert np.isnan(_percentiles(np.array([1, np.nan], np.float32), (0, 100))).all()


def test_percentiles_of_neighbours_far_apart_do_not_wrap() -> None:
    assert _percentiles(np.array([-30000, 30000], np.int16), (25, 75)) == [-15000, 15000]


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SPL", "AIR"])
def test_boxes_are_those_of_each_organ_alone(axes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    voxels = rng.choice(np.array([0, 1, 2, 7, -5, 300], np.int16), (6, 7, 8), p=[0.9, 0.02, 0.02, 0.02, 0.02, 0.02])
    organs = ((1, 7), (2,), (-5,), (300, 70_000), (4,))
    for slab in (1, 100, 1 << 20):
        monkeypatch.setattr("mmtk.imaging._boxes._SLAB", slab)
        boxes = boxes_of(voxels, organs)
        assert boxes[4] is None
        volume = Volume(voxels, axes=axes)
        turned = turn_volume(volume)
        for box, values in zip(boxes[:4], organs[:4], strict=True):
            assert box is not None
            assert box == bounds(np.isin(voxels, values).transpose(2, 1, 0))
            assert turn_box(volume, box) == bounds(np.isin(turned, values))


def bounds(there: np.ndarray) -> tuple[int, ...]:
    lines = (np.flatnonzero(there.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(itertools.chain.from_iterable((line[0], line[-1] + 1) for line in lines))


def test_masks_are_scanned_one_at_a_time(tmp_path: Path) -> None:
    """Of 64 MB each as int16; with a table of booleans and one a class it was three times that."""
    mask = np.zeros((128, 512, 512), np.uint8)
    mask[40:60, 100:200, 100:300], mask[60:70, 100:200, 100:300] = 1, 2
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii").write_bytes(nifti(mask, "u1"))
    code = "for name in ('a', 'b'): assert boxes(Path(path, f'{name}.nii'), (0, 0), ((1,), (2,)), True)[0][0]"
    first = "from pathlib import Path\nfrom scipy import ndimage\n" \
            "from mmtk.datasets.own._volumes import _organ_boxes as boxes"
    peak, line = peak_of(code, tmp_path, first=first)
    assert line == "read"
    assert peak < 64 + 24
