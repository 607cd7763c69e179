"""One file decoded to several kinds of pixels: each against the reference, and against the kind decoded alone."""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmtk.imaging import read_image, read_kinds
from tests import reference
from tests.test_imaging_png import filtered, png

KINDS = ("truncated", "rounded", "colour")


def check(path: Path, grey: bool) -> None:
    """Every order and choice of kinds gives what each gives alone."""
    alone = {kind: read_kinds(path, (kind,))[0] for kind in KINDS}
    for wanted in (p for n in (1, 2, 3) for p in permutations(KINDS, n)):
        for kind, image in zip(wanted, read_kinds(path, wanted), strict=True):
            np.testing.assert_array_equal(image, alone[kind])
    np.testing.assert_array_equal(read_image(path, False), alone["truncated"])
    np.testing.assert_array_equal(read_image(path, True), alone["colour"])
    if grey:
        np.testing.assert_array_equal(alone["truncated"], alone["rounded"])
    else:
        np.testing.assert_array_equal(alone["rounded"], reference.rounded_grey(alone["colour"]))
    theirs = Image.open(path).convert("L")
    np.testing.assert_array_equal(alone["rounded"], np.asarray(theirs))


@pytest.mark.parametrize("compiled", [True, False])
@given(st.integers(1, 4), st.sampled_from([2, 256]), st.integers(0, 9))
def test_both_greys_of_a_png(tmp_path: Path, compiled: bool, channels: int, levels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, levels, (19, 23, channels)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels, [y % 5 for y in range(19)]))
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setitem(sys.modules, "mmtk._native", None)
        truncated, rounded = read_kinds(path, ("truncated", "rounded"))
        if channels > 2:
            np.testing.assert_array_equal(truncated, reference.grey(pixels[..., :3]))
            np.testing.assert_array_equal(rounded, reference.rounded_grey(pixels[..., :3]))
        check(path, channels < 3)


def test_pngs_that_opencv_decodes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    gamma = b"\x00\x00\x00\x04gAMA\x00\x00\xb1\x8f\x0b\xfca\x05"
    path.write_bytes(png(pixels, [0] * 20, more=gamma))
    np.testing.assert_array_equal(read_kinds(path, ("rounded",))[0], reference.rounded_grey(pixels))
    np.testing.assert_array_equal(read_kinds(path, ("truncated",))[0], cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("format", ["jpeg", "tiff"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpegs_and_tiffs(tmp_path: Path, format: str, mode: str) -> None:
    shape = (40, 50) if mode == "L" else (40, 50, 3)
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8), (0, 0), 3)
    path = tmp_path / f"a.{format}"
    Image.fromarray(smooth).save(path, quality=90)
    check(path, mode == "L")


def test_one_pass_undoes_the_filters_for_both() -> None:
    native = pytest.importorskip("mmtk._native")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4)).astype(np.uint8)
    rows = filtered(pixels, [y % 5 for y in range(9)])
    both, alone = np.empty((2, 9, 11), np.uint8), np.empty((2, 9, 11), np.uint8)
    native.unfilter_grey(rows, both[0], 4, both[1])
    native.unfilter_grey(rows, alone[0], 4)
    native.unfilter_grey(rows, None, 4, alone[1])
    np.testing.assert_array_equal(both, alone)
    for arguments in ((rows, None, 4), (rows, both[0], 4, both[1, :8]), (rows, None, 4, None), (rows, both, 4),
                      (rows, both[0], 4, both[1].astype(np.int8)), (rows, both[0], 4, both[1, :, ::-1])):
        with pytest.raises((ValueError, TypeError, BufferError)):
            native.unfilter_grey(*arguments)
    with pytest.raises(TypeError):
        native.unfilter_grey(rows, both[0])


def test_real_busi_rows_at_every_size_are_the_references(real_data: Path, tmp_path: Path) -> None:
    """From one decode: 28 px by truncated luma, larger ones by rounded luma, neither through JPEG."""
    import mmtk

    source = real_data / "sources/busi"
    files = {path.relative_to(source / "Dataset_BUSI_with_GT").as_posix(): path for path in source.rglob("*.png")}
    checked = coloured = 0
    for result in mmtk.build("breastmnist", sources=source, out=tmp_path, sizes=(28, 64, 128, 224), allow_partial=True):
        for split in mmtk.open(result.path).splits:
            for image, record in zip(split.images, split.records, strict=True):
                with Image.open(files[record["source"].decode()]) as opened:
                    rgb = np.asarray(opened.convert("RGB"))
                grey = (reference.grey if result.size == 28 else reference.rounded_grey)(rgb)
                wanted = reference.resize(reference.crop(grey), (result.size, result.size))
                np.testing.assert_array_equal(image, wanted, record["source"])
                checked += 1
                coloured += bool(np.ptp(rgb.astype(int), axis=2).any())
    assert checked == 4 * 46
    assert coloured > 0
