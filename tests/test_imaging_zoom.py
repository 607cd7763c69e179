"""The zoom of CT boxes, against scipy to the voxel, on every path."""

from __future__ import annotations

import hashlib
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import ndimage

from mmtk.errors import ArgumentError
from mmtk.imaging import _zoom, zoom

XY, Z = 0.7031 / 2, 2.5  # OrganMNIST's factors


@pytest.fixture
def in_c(monkeypatch):
    """The C kernel, and a list of the boxes that it leaves to scipy."""
    pytest.importorskip("mmtk._native")
    monkeypatch.setenv("MMTK_KERNELS", "native")
    left, by_scipy = [], _zoom._by_scipy

    def noted(volume, shape, border):
        left.append(shape)
        return by_scipy(volume, shape, border)

    monkeypatch.setattr(_zoom, "_by_scipy", noted)
    return left


def expected(volume, shape, border="zero"):
    if border == "zero":
        return ndimage.zoom(volume, np.divide(shape, volume.shape), order=3)
    ends = [n - 1 for n in volume.shape]
    lines = [np.minimum(np.arange(u) * (end / max(u - 1, 1)), end) for end, u in zip(ends, shape, strict=True)]
    at = np.meshgrid(*lines, indexing="ij")
    return ndimage.map_coordinates(volume, at, np.int16, order=3, mode="mirror")


def content(kind, shape, seed):
    rng = np.random.default_rng(seed)
    x, y, z = np.ogrid[tuple(map(slice, shape))]
    if kind == "noise":
        return rng.integers(-(2**15), 2**15, shape, dtype=np.int16)
    if kind == "extremes":
        return rng.choice(np.array([-(2**15), 2**15 - 1], np.int16), shape)
    if kind == "ramp":  # its values between voxels are halves, wherever a coordinate is one
        a, b, c = rng.integers(-30, 31, 3)
        return (a * x + b * y + c * z).astype(np.int16)
    if kind == "chessboard":
        return np.where((x + y + z) % 2, 2**15 - 1, -(2**15)).astype(np.int16)
    if kind == "constant":
        return np.full(shape, rng.integers(-(2**15), 2**15), np.int16)
    sparse = np.where(rng.random(shape) < 0.1, rng.integers(-1000, 3000, shape), -1024)
    sparse[: shape[0] // 2] = -1024  # and a constant region
    return sparse.astype(np.int16)


KINDS = ("noise", "extremes", "ramp", "chessboard", "constant", "sparse")


@st.composite
def sides(draw):
    n = draw(st.integers(1, 40))
    factor = draw(st.sampled_from([XY, Z, 0.5, 1.0, 2.0]) | st.floats(0.02, 3))
    return n, max(1, round(n * factor))


MOST = 30_000  # voxels of a drawn box and grid: scipy takes its time
grids = st.tuples(sides(), sides(), sides()).filter(lambda axes: max(np.prod(axes, axis=0)) <= MOST)
cases = st.tuples(grids, st.sampled_from(KINDS), st.integers(0, 1000))


@given(cases)
@example((((1, 1), (1, 1), (1, 1)), "noise", 0))
@example((((1, 5), (40, 1), (7, 7)), "noise", 1))
@example((((40, 40), (33, 33), (17, 17)), "extremes", 2))
@example((((2, 5), (3, 5), (4, 7)), "chessboard", 3))
@example((((31, 40), (32, 40), (33, 40)), "noise", 4))
@example((((9, 17), (9, 17), (9, 17)), "ramp", 5))
@example((((40, 14), (39, 14), (38, 95)), "sparse", 6))
def test_the_grid_is_scipys_to_the_voxel(kernel, case):
    (x, y, z), kind, seed = case
    shape = x[1], y[1], z[1]
    volume = content(kind, (x[0], y[0], z[0]), seed)
    for border in ("zero", "edge"):
        got = zoom(volume, shape, border)
        assert got.dtype == np.int16
        np.testing.assert_array_equal(got, expected(volume, shape, border), border)
        assert got[:, :, 0].flags.c_contiguous


@given(cases, st.tuples(*[st.sampled_from([1, -1, 2, -3])] * 3), st.permutations(range(3)))
def test_a_volume_may_lie_anyhow(in_c, case, steps, order):
    (x, y, z), kind, seed = case
    volume = content(kind, (x[0], y[0], z[0]), seed)
    stored = np.zeros([n * abs(step) for n, step in zip(volume.shape, steps, strict=True)], np.int16)
    stored = np.ascontiguousarray(stored.transpose(order)).transpose(np.argsort(order))
    view = stored[tuple(slice(None, None, step) for step in steps)]
    view[...] = volume
    stored.flags.writeable = view.flags.writeable = False
    before = stored.copy()
    np.testing.assert_array_equal(zoom(view, (x[1], y[1], z[1])), expected(volume, (x[1], y[1], z[1])))
    np.testing.assert_array_equal(stored, before)


def test_boxes_of_a_mapped_file_and_odd_addresses(in_c, tmp_path):
    content("noise", (30, 40, 50), 0).tofile(tmp_path / "volume")
    mapped = np.memmap(tmp_path / "volume", np.int16, "r", shape=(30, 40, 50))
    box = mapped.T[3:45, 5:38, 2:29][:, ::-1]
    odd = np.frombuffer(b"\0" + box.tobytes(), np.int16, offset=1).reshape(box.shape)
    assert not odd.flags.aligned
    repeated = np.broadcast_to(np.int16(7), box.shape)
    for volume in (box, odd, repeated):
        np.testing.assert_array_equal(zoom(volume, (15, 12, 68)), expected(volume, (15, 12, 68)))
    assert not in_c


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_last_of_an_axis_is_filled_where_double_says_so(kernel, axis):
    filled = 0
    for n in range(2, 400):
        u = max(1, round(n * (XY if axis < 2 else Z)))
        size, shape = [2, 2, 2], [2, 2, 2]
        size[axis], shape[axis] = n, u
        volume = np.full(size, 1000, np.int16)
        leaves = u > 1 and (u - 1) * ((n - 1) / (u - 1)) > n - 1
        got = np.moveaxis(zoom(volume, tuple(shape)), axis, 0)
        assert (got[:-1] == 1000).all()
        assert (got[-1] == (0 if leaves else 1000)).all()
        assert (zoom(volume, tuple(shape), "edge") == 1000).all()
        filled += leaves
    assert 5 < filled < 200


@given(cases)
def test_borders_differ_in_what_is_filled_alone(kernel, case):
    (x, y, z), kind, seed = case
    volume, shape = content(kind, (x[0], y[0], z[0]), seed), (x[1], y[1], z[1])
    zero, edge = zoom(volume, shape), zoom(volume, shape, "edge").copy()
    for axis, (n, u) in enumerate((x, y, z)):
        if u > 1 and (u - 1) * ((n - 1) / (u - 1)) > n - 1:
            edge.swapaxes(0, axis)[-1] = 0
    np.testing.assert_array_equal(zero, edge)


def test_golden(kernel):
    """A scipy that computes something else is noticed, whichever way is gone."""
    rng = np.random.default_rng(44)
    volume = rng.integers(-1024, 2000, (41, 53, 61)).astype(np.int16)
    digest = hashlib.sha256()
    for border in ("zero", "edge"):
        for shape in ((14, 19, 152), (41, 53, 61), (61, 53, 41), (14, 1, 61)):
            digest.update(np.ascontiguousarray(zoom(volume, shape, border)).astype("<i2").tobytes())
    assert digest.hexdigest() == "082814fdb33521d56bd48f678486568f98bc3024a234bec4f312df00b8a5919e"


@pytest.mark.parametrize("border", ["zero", "edge"])
def test_a_tie_is_left_to_scipy(in_c, border):
    volume = np.zeros((5, 4, 2), np.int16)
    volume[..., 1] = 1
    assert zoom(volume, (5, 4, 3), border)[0, 0].tolist() == expected(volume, (5, 4, 3), border)[0, 0].tolist()
    assert in_c == [(5, 4, 3)]


def test_little_is_left_to_scipy(in_c):
    for seed in range(20):
        volume = content("sparse" if seed % 2 else "noise", (60, 61, 20), seed)
        zoom(volume, (21, 21, 50))
    zoom(content("constant", (61, 62, 23), 0), (21, 22, 57))
    assert len(in_c) < 3


def test_values_in_doubt_are_those_near_a_half(in_c):
    """The end of a line is met exactly, so a voxel there stays what it is; halfway it is a half or is not."""
    for low, high in ((0, 1), (-1, 0), (1000, 1003), (-(2**15), 2**15 - 1)):
        zoom(np.array([low, high], np.int16).reshape(2, 1, 1), (3, 1, 1))
        assert in_c.pop() == (3, 1, 1)
        zoom(np.array([low, high - 1], np.int16).reshape(2, 1, 1), (3, 1, 1))
        assert not in_c


def test_overshoot_is_clipped(kernel):
    volume = np.full((6, 6, 6), -(2**15), np.int16)
    volume[2:4, 2:4, 2:4] = 2**15 - 1
    got = zoom(volume, (23, 23, 23))
    assert (got == 2**15 - 1).any()
    assert (got == -(2**15)).any()
    np.testing.assert_array_equal(got, expected(volume, (23, 23, 23)))


BOX = np.zeros((3, 4, 5), np.int16)


@pytest.mark.parametrize(
    ("volume", "shape", "border", "match"),
    [
        (BOX.astype(np.int32), (1, 1, 1), "zero", "^volume: found .* expected int16 of shape"),
        (BOX.astype(">i2"), (1, 1, 1), "zero", "^volume: found .* expected int16 of shape"),
        (BOX[0], (1, 1, 1), "zero", r"^volume: found int16 of shape \(4, 5\), expected int16 of shape \(x, y, z\)$"),
        (BOX[:0], (1, 1, 1), "zero", r"^volume: found \(x, y, z\) = \(0, 4, 5\), expected 1 to 32768 voxels per side$"),
        (np.broadcast_to(np.int16(0), (1, 1, 32769)), (1, 1, 1), "zero", "^volume: found .* expected 1 to 32768"),
        (BOX, (1, 0, 1), "zero", r"^shape: found \(x, y, z\) = \(1, 0, 1\), expected 1 to 32768 voxels per side$"),
        (BOX, (1, 1, 32769), "zero", "^shape: found .* expected 1 to 32768"),
        (BOX, (1, 1), "zero", r"^shape: found \(1, 1\), expected three integers \(x, y, z\)$"),
        (BOX, (1, 1, 1.5), "zero", "^shape: found .* expected three integers"),
        (BOX, 3, "zero", "^shape: found .* expected three integers"),
        (BOX, (1, 1, 1), "mirror", "^border mirror: unknown; expected one of zero, edge$"),
    ],
)
def test_wrong_arguments_are_refused(volume, shape, border, match):
    with pytest.raises(ArgumentError, match=match) as caught:
        zoom(volume, shape, border)
    assert "\n" not in str(caught.value)


def test_organs_of_a_real_volume(in_c, monkeypatch, real_data, tmp_path):
    """Each organ's grid of LiTS volume 44 is scipy's. The recipe takes the array as it lies, its y axis reversed."""
    sitk = pytest.importorskip("SimpleITK")
    paths = pytest.importorskip("mmtk._native").paths
    boxes = real_data / "sources/lits/annotations_on_LiTS/annotations_of_training_set.zip"
    slices = real_data / "sources/lits44/PATIENT_DICOM.zip"
    if not boxes.is_file() or not slices.is_file():
        pytest.skip("LiTS volume 44 is not here")
    with zipfile.ZipFile(slices) as archive:
        archive.extractall(tmp_path)
    files = [p for p in (tmp_path / "PATIENT_DICOM").iterdir() if p.is_file()]
    heights = {}
    for path in files:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        heights[float(reader.GetOrigin()[2])] = path
    assert len(heights) == 119
    planes = [sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0] for _, path in sorted(heights.items())]
    volume = np.stack(planes).astype(np.int16).transpose(2, 1, 0)[:, ::-1]
    assert volume.shape == (512, 512, 119)
    with zipfile.ZipFile(boxes) as archive:
        name = next(name for name in archive.namelist() if name.endswith("segmentation-44.txt"))
        lines = archive.read(name).decode().splitlines()
    organs = 0
    for line in filter(str.strip, lines):
        organ, _, *ends = line.split()
        x0, x1, y0, y1, z0, z1 = map(int, ends)
        box = volume[x0:x1, y0:y1, z0:z1]
        shape = tuple(round(n * factor) for n, factor in zip(box.shape, (XY, XY, Z), strict=True))
        wanted = ndimage.zoom(box, (XY, XY, Z), order=3)
        for path in paths:
            monkeypatch.setenv("MMTK_KERNELS", path)
            np.testing.assert_array_equal(zoom(box, shape), wanted, organ)
        organs += 1
    assert organs == 5
    assert len(in_c) <= len(paths)  # hardly any of them
