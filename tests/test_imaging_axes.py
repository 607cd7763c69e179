"""How volumes lie, against nibabel: every order of axes, oblique ones, and headers that contradict themselves."""

from __future__ import annotations

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmtk.errors import ArgumentError, ImageError
from mmtk.imaging import probe_volume, read_volume, turn_volume
from mmtk.imaging._axes import axes_of, nearest_axes
from tests.damage import refused_flips

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


def first_of(image) -> np.ndarray:
    """Where the first voxel of `turned` lies."""
    canonical = nib.as_closest_canonical(image)
    x, y, _ = canonical.shape
    return (canonical.affine @ (x - 1, y - 1, 0, 1))[:3]


def noise(shape=(4, 5, 6), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 3000, shape).astype(np.int16)


# how a file of every kind is written: its type, its byte order, and what its numbers are multiplied by
KINDS = [("i2", "<", 1.0, 0.0), ("i2", ">", 1.0, 0.0), ("f4", "<", 1.0, 0.0), ("u1", ">", 0.5, -3.25)]


def image_of(voxels, affine, version=1, kind="i2", order="<", slope=1.0, inter=0.0):
    """An image of nibabel's that stores numbers as they are, to be scaled when they are read."""
    make, header = ((nib.Nifti1Image, nib.Nifti1Header), (nib.Nifti2Image, nib.Nifti2Header))[version - 1]
    image = make(voxels.astype(kind), affine, header(endianness=order))
    image.header.set_data_dtype(np.dtype(order + kind))
    image.header.set_slope_inter(slope, inter)
    image.header.set_xyzt_units("mm")
    return image


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("axes", ORDERS)
def test_every_slice_in_every_order_of_axes_is_nibabels(tmp_path: Path, axes: str, version: int) -> None:
    for at, (kind, order, slope, inter) in enumerate(KINDS):
        name = tmp_path / f"{at}.nii{'.gz' if at % 2 else ''}"
        nib.save(image_of(noise(), affine_of(axes), version, kind, order, slope, inter), name)
        image, volume, header = nib.load(name), read_volume(name, exact=True), probe_volume(name)
        assert header.dtype == image.dataobj.dtype == np.dtype(order + kind)
        assert volume.axes == header.axes == "".join(nib.aff2axcodes(image.affine)) == axes
        expected = turned(image)
        assert np.array_equal(turn_volume(volume), expected)
        assert volume.voxels.dtype == (np.float32 if slope == 0.5 else np.int16)
        assert np.shares_memory(turn_volume(volume), volume.voxels)
        assert header.turned_shape == expected.shape
        closest = nib.as_closest_canonical(image).header.get_zooms()
        assert volume.turned_spacing == header.turned_spacing == pytest.approx(closest)
        assert volume.origin == header.origin == (-30, 20, 700)
        assert np.transpose(volume.steps) == pytest.approx(image.affine[:3, :3])
        assert volume.turned_origin == header.turned_origin == pytest.approx(first_of(image))
        assert axes_of(volume.signs) == (axes if axes[0] in "RL" and axes[1] in "AP" else "")


def test_there_are_48_orders() -> None:
    assert len(set(ORDERS)) == 48


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.floats(0.0625, 20, width=32)] * 3), st.sampled_from(ORDERS),
    st.sampled_from([1, 2]), st.sampled_from(KINDS), st.tuples(*[st.floats(-0.6, 0.6)] * 3), st.integers(0, 99),
)
def test_any_volume_in_any_order_of_axes_a_little_oblique(
    tmp_path_factory, shape, spacing, axes, version, kind, angles, seed
) -> None:
    name = tmp_path_factory.mktemp("any") / "a.nii"
    turn = nib.eulerangles.euler2mat(*angles)
    affine = affine_of(axes, spacing)
    affine[:3, :3] = turn @ affine[:3, :3]
    nib.save(image_of(noise(shape, seed), affine, version, *kind), name)
    image, volume = nib.load(name), read_volume(name, exact=True)
    assume(volume.axes)  # none where two axes are as near
    assert volume.axes == "".join(nib.aff2axcodes(image.affine))
    assert np.array_equal(turn_volume(volume), turned(image))
    assert volume.turned_spacing == pytest.approx(nib.as_closest_canonical(image).header.get_zooms(), rel=1e-5)
    assert volume.turned_origin == pytest.approx(first_of(image), rel=1e-5, abs=1e-4)


def test_oblique_and_sheared_matrices_have_nibabels_axes() -> None:
    draw = np.random.default_rng(3)
    named = 0
    for _ in range(2000):
        matrix = draw.normal(size=(3, 3)) * draw.uniform(0.1, 10, 3)
        axes = nearest_axes(matrix)
        named += bool(axes)
        assert axes in ("", "".join(nib.aff2axcodes(np.vstack([np.hstack([matrix, [[0]] * 3]), [0, 0, 0, 1]]))))
    assert named > 1980


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)), np.diag([1.0, 1.0, 0.0]), np.ones((3, 3)), np.diag([1.0, math.nan, 1.0]),
        np.diag([1.0, math.inf, 1.0]), [[1, 1, 0], [0, 0, 0], [0, 0, 1]],
        [[1, -1, 0], [1, 1, 0], [0, 0, 1]],  # 45 degrees
        [[1, -1.0001, 0], [1.0001, 1, 0], [0, 0, 1]],
    ],
)
def test_a_matrix_that_is_singular_or_as_near_to_two_names_no_axes(matrix) -> None:
    assert nearest_axes(np.array(matrix, float)) == ""


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_a_matrix_of_any_size_names_its_axes(size: float) -> None:
    assert nearest_axes(np.diag([-size, size, size])) == "LAS"


def test_where_quaternion_and_matrix_name_different_axes_there_are_none(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), affine_of("LPS"))
    image.set_qform(affine_of("LPS"), 1)
    for name, sform in {"same": affine_of("LPS"), "mirrored": affine_of("RPS"), "turned": affine_of("PLS")}.items():
        image.set_sform(sform, 1)
        nib.save(image, tmp_path / f"{name}.nii")
    assert [read_volume(tmp_path / f"{name}.nii").axes for name in ("same", "mirrored", "turned")] == ["LPS", "", ""]
    assert read_volume(tmp_path / "mirrored.nii").signs == (1, -1, 1)  # the official Organ sets go by the matrix
    image.set_qform(affine_of("LPS"), 0)
    nib.save(image, tmp_path / "alone.nii")
    assert read_volume(tmp_path / "alone.nii").axes == "PLS"
    places = [probe_volume(tmp_path / f"{name}.nii").origin for name in ("same", "mirrored", "turned", "alone")]
    assert places == [(-30, 20, 700), None, None, (-30, 20, 700)]
    image.set_sform(affine_of("PLS"), 0)
    nib.save(image, tmp_path / "neither.nii")
    volume = read_volume(tmp_path / "neither.nii")
    assert (volume.axes, volume.origin, volume.steps) == ("", None, None)
    for ask in (lambda: turn_volume(volume), lambda: volume.turned_spacing, lambda: volume.turned_origin,
                lambda: probe_volume(tmp_path / "neither.nii").turned_shape):
        with pytest.raises(ArgumentError, match="anatomical axes"):
            ask()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_quaternion_tells_the_place_where_there_is_no_matrix(tmp_path: Path, version: int, mirrored: bool) -> None:
    affine = affine_of("RAS")
    affine[:3, :3] = nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ affine[:3, :3]
    affine[:3, 0] *= -1 if mirrored else 1
    image = image_of(noise(), affine, version)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    twin, volume = nib.load(tmp_path / "a.nii"), read_volume(tmp_path / "a.nii")
    assert twin.header["sform_code"] == 0
    assert volume.origin == (-30, 20, 700)
    assert np.transpose(volume.steps) == pytest.approx(twin.affine[:3, :3], abs=1e-6)
    assert volume.turned_origin == pytest.approx(first_of(twin))
    image.set_qform(affine_of("RAS"), 1)  # the matrix counts where both are given
    image.set_sform(affine_of("RAS") + np.outer((9, 8, 7, 0), (0, 0, 0, 1)), 1)
    nib.save(image, tmp_path / "both.nii")
    assert probe_volume(tmp_path / "both.nii").origin == (-21, 28, 707)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_no_place(tmp_path: Path, number: float) -> None:
    image = image_of(noise(), affine_of("LPS"))
    image.header["srow_x"][3] = number
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + noise().tobytes("F"))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[108:112], content[344:348] = np.float32(352).tobytes(), b"n+1\0"
    (tmp_path / "a.nii").write_bytes(content)
    volume = read_volume(tmp_path / "a.nii")
    assert (volume.axes, volume.origin, volume.turned_origin) == ("LPS", None, None)
    assert volume.steps == ((-0.5, 0, 0), (0, -0.75, 0), (0, 0, 2.5))


@pytest.mark.parametrize("version", [1, 2])
def test_sizes_are_in_mm_whatever_the_unit(tmp_path: Path, version: int) -> None:
    image = image_of(noise(), affine_of("RSA"), version)
    for unit, factor in ((0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1), (4, 0), (7, 0)):
        image.header["xyzt_units"] = unit
        nib.save(image, tmp_path / "a.nii")
        volume = read_volume(tmp_path / "a.nii")
        assert volume.spacing == pytest.approx([size * factor for size in SPACING])
        assert volume.turned_spacing == pytest.approx([factor * size for size in (0.5, 2.5, 0.75)])
        assert volume.origin == (pytest.approx((-30 * factor, 20 * factor, 700 * factor)) if factor else None)
        assert (volume.steps is None) == (factor == 0)


def test_one_frame_is_a_volume_and_several_are_none(tmp_path: Path) -> None:
    for make, name in ((nib.Nifti1Image, "1.nii"), (nib.Nifti2Image, "2.nii")):
        nib.save(make(noise()[..., None], affine_of("LPS")), tmp_path / name)
        assert np.array_equal(turn_volume(read_volume(tmp_path / name)), noise())
        nib.save(make(np.stack([noise(), noise()], -1), affine_of("LPS")), tmp_path / name)
        with pytest.raises(ImageError, match="found size 4 x 5 x 6 x 2"):
            probe_volume(tmp_path / name)


def test_a_pair_of_header_and_voxels_is_named(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(noise(), affine_of("LPS")), tmp_path / "a.hdr")
    nib.save(nib.Nifti1Pair(noise(), affine_of("LPS")), tmp_path / "b.img.gz")
    parts = {"a.hdr": "header", "a.img": "voxel file", "b.hdr.gz": "header", "b.img.gz": "voxel file"}
    for name, part in parts.items():
        with pytest.raises(ImageError, match=rf"is the {part} of a .hdr/.img pair.*save it as NIfTI-1"):
            probe_volume(tmp_path / name)


# ------------------------------------------------------------------- damage, where numbers are scaled and kept as float

@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_and_no_flipped_byte_passes_with_other_values(tmp_path: Path, version: int, kind: tuple) -> None:
    nib.save(image_of(noise(), affine_of("PIR"), version, *kind), tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    content, path = gzip.compress(plain, mtime=0), tmp_path / "a.nii.gz"
    path.write_bytes(content)
    whole = read_volume(path, exact=True)  # not mapped, as the plain file is written to below
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError):
            read_volume(path, exact=True)
    for length in range(0, len(plain), 3):
        (tmp_path / "a.nii").write_bytes(plain[:length])
        with pytest.raises(ImageError):
            read_volume(tmp_path / "a.nii", exact=True)

    def expect_same(at: int) -> None:
        volume = read_volume(path, exact=True)
        assert np.array_equal(volume.voxels, whole.voxels), at
        assert (volume.axes, volume.spacing) == (whole.axes, whole.spacing)

    path.write_bytes(content)
    refused = refused_flips(path, expect_same)
    assert refused >= len(content) - 11
    path.write_bytes(gzip.compress(plain + b"x"))
    with pytest.raises(ImageError, match=r"more than [0-9]+ bytes of voxels"):
        read_volume(path, exact=True)
