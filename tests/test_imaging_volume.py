"""CT volumes: against SimpleITK, and slices against an interpolation that is written out."""

from __future__ import annotations

import errno
import gzip
import math
import struct
import sys
import zipfile
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmtk.datasets.listing import open_listing
from mmtk.errors import ArgumentError, ImageError, SourceError
from mmtk.imaging import Volume, cut_plane, probe_volume, read_mask, read_volume, turn_volume
from tests.commands import peak_of
from tests.damage import refused_flips

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}


def nifti(voxels, kind="i2", order="<", slope=1.0, inter=0.0, offset=352, spacing=(0.7, 0.7, 2.5), sform=True):
    """A NIfTI-1 file of an array (z, y, x)."""
    header = bytearray(offset)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, 3, *voxels.shape[::-1], 1, 1, 1, 1)
    struct.pack_into(order + "2h", header, 70, CODES[kind], 8 * np.dtype(kind).itemsize)
    struct.pack_into(order + "4f", header, 76, 1.0, *spacing)
    struct.pack_into(order + "3f", header, 108, offset, slope, inter)
    if sform:
        struct.pack_into(order + "2h", header, 252, 0, 1)
        for row, step in enumerate((-0.7, -0.7, 2.5)):
            struct.pack_into(order + "f", header, 280 + 20 * row, step)
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels.astype(order + kind).tobytes()


def noise(shape=(5, 6, 7), low=-1000, high=1000):
    return np.random.default_rng(0).integers(low, high, shape).astype(np.int16)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", CODES)
def test_every_type_and_order_reads_as_simpleitk_reads_it(tmp_path: Path, kind: str, order: str, packed: bool) -> None:
    sitk = pytest.importorskip("SimpleITK")
    voxels = noise(low=0, high=120) if kind in ("u1", "i1", "u2", "u4", "u8") else noise()
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    content = nifti(voxels, kind, order, slope=2.0, inter=-100.0, offset=368)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_volume(path)
    assert (found.voxels.dtype, found.voxels.flags.c_contiguous, found.signs) == (np.int16, True, (-1, -1, 1))
    assert np.array_equal(found.voxels, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def test_plain_int16_is_mapped_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(noise()))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(noise())))
    mapped, read = (read_volume(tmp_path / name).voxels for name in ("a.nii", "a.nii.gz"))
    assert np.array_equal(mapped, read)
    assert (mapped.flags.writeable, read.flags.writeable) == (False, True)


def test_a_volume_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("volume-0.nii", nifti(noise()))
        archive.writestr("volume-1.nii.gz", gzip.compress(nifti(noise())))
    listing = open_listing(tmp_path / "a.zip")
    assert len(listing.names) == 2
    for name in listing.names:
        assert probe_volume(listing.path(name)).shape == (7, 6, 5)
        assert np.array_equal(read_volume(listing.path(name)).voxels, noise())


def test_real_volumes_read_as_simpleitk_reads_them(real_data: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    paths = sorted((real_data / "sources/ct-standin").glob("*.nii.gz"))
    assert paths
    for path in paths:
        found = read_volume(path)
        assert np.array_equal(found.voxels, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        assert found.signs == (1, 1, 1)


def test_floats_round_half_up_and_stop_at_the_ends(tmp_path: Path) -> None:
    values = np.array([-1.5, -0.5, 0.5, 0.49, 1e9, -np.inf, np.inf, 7.0])
    (tmp_path / "a.nii").write_bytes(nifti(values.reshape(2, 2, 2), "f8"))
    assert read_volume(tmp_path / "a.nii").voxels.ravel().tolist() == [-1, 0, 1, 0, 32767, -32768, 32767, 7]


@pytest.mark.parametrize("kind", ["i8", "u8", "i4", "u4"])
def test_large_whole_numbers_stop_at_the_ends(tmp_path: Path, kind: str) -> None:
    ends = np.iinfo(kind)
    values = np.array([ends.min, ends.max, 32767, 32768, 0, 1, 2, 3], kind)
    (tmp_path / "a.nii").write_bytes(nifti(values.reshape(2, 2, 2), kind))
    lowest = 0 if ends.min == 0 else -32768
    assert read_volume(tmp_path / "a.nii").voxels.ravel().tolist() == [lowest, 32767, 32767, 32767, 0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["i2", "i8"])
def test_bytes_behind_the_voxels_are_passed_over_mapped_or_read(tmp_path: Path, kind: str) -> None:
    content = nifti(noise(), kind) + b"more"
    (tmp_path / "a.nii").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "a.nii").voxels, noise())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.nii", content)
    assert np.array_equal(read_volume(open_listing(tmp_path / "a.zip").path("a.nii")).voxels, noise())
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"more", b"less"))
    with pytest.raises(ImageError, match="Bad CRC-32"):
        read_volume(open_listing(tmp_path / "a.zip").path("a.nii"))


def test_without_mapping_a_volume_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(noise()))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr("mmtk.imaging._volume.mmap.mmap", fail)
    assert np.array_equal(read_volume(tmp_path / "a.nii").voxels, noise())


def test_an_error_of_the_system_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(noise())))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(SourceError, match=r"cannot be read: input/output error; check the disk$"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_damaged_file_is_told_as_such_whatever_its_header_then_says(tmp_path: Path) -> None:
    """A bit that turns the type into another one: the checksum is what is wrong, not the type."""
    whole = nifti(noise((40, 50, 60)))  # of which the header is but the first part that is read
    wrong = bytearray(whole)
    wrong[70] ^= 0x80
    content = gzip.compress(bytes(wrong))
    content = content[:-8] + gzip.compress(whole)[-8:]
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(ImageError, match=r"damaged volume file: .*(CRC|checksum)"):
        probe_volume(tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.nii", whole)
    packed = (tmp_path / "a.zip").read_bytes().replace(whole, bytes(wrong))
    (tmp_path / "a.zip").write_bytes(packed)
    with pytest.raises(ImageError, match=r"damaged volume file: Bad CRC-32"):
        probe_volume(open_listing(tmp_path / "a.zip").path("a.nii"))


@pytest.mark.parametrize("wrong", [200, 360])
@pytest.mark.parametrize("pack", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_checksum_of_a_volume_in_a_zip_is_compared(tmp_path: Path, pack: int, wrong: int) -> None:
    """Also where the wrong byte was read before a step back."""
    whole, flipped = nifti(noise()), bytearray(nifti(noise()))
    flipped[wrong] ^= 1
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.nii", bytes(flipped), pack)
    crc = zlib.crc32
    data = path.read_bytes().replace(struct.pack("<I", crc(bytes(flipped))), struct.pack("<I", crc(whole)))
    path.write_bytes(data)
    with pytest.raises(ImageError, match="Bad CRC-32"):
        read_volume(open_listing(path).path("a.nii"))


def test_a_volume_that_unpacks_to_more_than_its_shape_takes_little(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(nifti(noise()) + bytes(600 << 20), 1))
    peak, line = peak_of("read_volume(path)", path)
    assert "more than 420 bytes of voxels" in line
    assert peak < 256
    far = bytearray(nifti(noise()))
    struct.pack_into("<f", far, 108, float(1 << 28) - 16)
    path.write_bytes(gzip.compress(bytes(far) + bytes(200 << 20), 1))
    peak, line = peak_of("read_volume(path)", path)
    assert "cut off before its voxels" in line
    assert peak < 256


def test_missing_voxel_size_and_axes_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(noise(), spacing=(0, 0, 0), sform=False))
    header = probe_volume(tmp_path / "a.nii")
    assert (header.shape, header.signs) == ((7, 6, 5), (0, 0, 0))


@pytest.mark.parametrize("slope", [0.0, math.nan, math.inf])
def test_a_slope_that_means_nothing_is_one(tmp_path: Path, slope: float) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(noise(), slope=slope, inter=5.0))
    assert np.array_equal(read_volume(tmp_path / "a.nii").voxels, noise())


def test_nan_is_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 2, 2))
    values[1, 1, 1] = np.nan
    (tmp_path / "a.nii").write_bytes(nifti(values, "f4"))
    with pytest.raises(ImageError, match=r"a\.nii: contains NaN; replace NaN"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_off_files_are_refused(tmp_path: Path, ending: str, part: float) -> None:
    content = nifti(noise())
    content = gzip.compress(content) if ending == "nii.gz" else content
    (tmp_path / f"a.{ending}").write_bytes(content[: int(part * len(content))])
    with pytest.raises(ImageError, match=rf"a\.{ending}: is (a damaged|an empty file)") as caught:
        read_volume(tmp_path / f"a.{ending}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_no_flipped_byte_of_a_packed_volume_gives_other_voxels(tmp_path: Path, monkeypatch, library: str) -> None:
    if library == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    voxels = noise((9, 9, 9))
    content = gzip.compress(nifti(voxels), mtime=0)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)

    def expect_same(at: int) -> None:
        assert np.array_equal(read_volume(path).voxels, voxels), at

    refused = refused_flips(path, expect_same)
    assert refused >= len(content) - 11  # gzip's header and the bits behind the last block say nothing of the voxels


# ------------------------------------------------------------------- values as they are

@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("kind", "slope", "inter", "values", "dtype"),
    [
        ("i2", 1, 0, [-32768, 32767, 0], "i2"), ("u1", 1, 0, [0, 255, 3], "i2"), ("u2", 1, 0, [0, 32767, 9], "i2"),
        ("u2", 1, 0, [0, 32768, 9], "f4"), ("u2", 1, -1024, [0, 33791, 9], "i2"), ("i8", 1, 0, [0, -5, 2], "i2"),
        ("f4", 1, 0, [1.0, -2.0, 0.0], "i2"), ("f4", 1, 0, [1.0, -2.5, 0.0], "f4"), ("f8", 1, 0, [0, 32768.0, 1], "f4"),
        ("i2", 0.5, 0, [2, 4, -8], "i2"), ("i2", 0.5, 0, [2, 4, -7], "f4"), ("u2", 0.25, 0.125, [0, 65535, 2], "f4"),
        ("f8", 1, 0, [1e-3, 3e38, -3e38], "f4"), ("i4", 1, 0, [-32769, 0, 1], "f4"),
    ],
)
def test_exact_values_are_whole_where_all_are_and_else_float(
    tmp_path: Path, kind: str, slope: float, inter: float, values: list, dtype: str, packed: bool
) -> None:
    stored = np.array(values).astype(kind).reshape(1, 1, 3)
    content = nifti(stored, kind, slope=slope, inter=inter)
    (tmp_path / "a.nii").write_bytes(gzip.compress(content) if packed else content)
    found = read_volume(tmp_path / "a.nii", exact=True)
    assert found.voxels.dtype == np.dtype(dtype)
    assert np.array_equal(found.voxels, (stored.astype(float) * slope + inter).astype(np.float32))
    assert (found.signs, found.axes) == ((-1, -1, 1), "LPS")


@pytest.mark.parametrize("at", [0, 1, 6, 7, 8, 20, 41])
def test_the_first_broken_number_may_stand_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr("mmtk.imaging._volume._BLOCK", 7)
    values = noise((2, 3, 7)).astype(np.float32)
    values.ravel()[at] = 0.5
    (tmp_path / "a.nii").write_bytes(nifti(values, "f4"))
    found = read_volume(tmp_path / "a.nii", exact=True).voxels
    assert found.dtype == np.float32
    assert np.array_equal(found, values)
    with pytest.raises(ImageError, match="values other than integers from -32768 to 32767"):
        read_mask(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_numbers_that_are_none_are_refused_where_values_are_exact(tmp_path: Path, value: float) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(np.array([0.5, value, 2]).reshape(1, 1, 3), "f8"))
    for ask in (partial(read_volume, exact=True), read_mask):
        with pytest.raises(ImageError, match=r"contains NaN|not finite in float32"):
            ask(tmp_path / "a.nii")


def test_label_maps_are_whole_numbers_in_whatever_type(tmp_path: Path) -> None:
    labels = noise(low=0, high=100)
    for kind in CODES:
        (tmp_path / "a.nii").write_bytes(nifti(labels, kind))
        mask = read_mask(tmp_path / "a.nii")
        assert mask.voxels.dtype == np.int16
        assert np.array_equal(mask.voxels, labels)
    for slope, inter in ((0.7, 0), (1, 0.5), (1000, 0)):
        (tmp_path / "a.nii").write_bytes(nifti(labels, "i2", slope=slope, inter=inter))
        with pytest.raises(ImageError, match=r"not a label map: .*; give the mask"):
            read_mask(tmp_path / "a.nii")


@pytest.mark.parametrize("last", [0.0, 0.5])
def test_exact_values_take_their_own_memory_and_little_more(tmp_path: Path, last: float) -> None:
    """Whether they turn out broken at the very end or not at all."""
    values = np.zeros((96, 1024, 1024), np.float32)
    values[-1, -1, -1] = last
    (tmp_path / "a.nii").write_bytes(nifti(values, "f4"))
    peak, line = peak_of(f"assert read_volume(path, exact=True).voxels.max() == {last}", tmp_path / "a.nii")
    assert line == "read"
    assert peak < (384 if last else 192) + 120  # of that, blocks of doubles take 32 MiB each


def test_a_folder_is_a_dicom_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(noise(), (-1, -1, 1), (1.0, 1.0, 1.0), "LPS")
    series = SimpleNamespace(read_series=lambda *asked: (volume, *asked), probe_series=lambda path: ("header", path))
    monkeypatch.setitem(sys.modules, "mmtk.imaging._series", series)
    assert read_volume(tmp_path) == (volume, tmp_path, False)
    assert read_volume(tmp_path, exact=True) == (volume, tmp_path, True)
    assert probe_volume(str(tmp_path)) == ("header", tmp_path)


def changed(at: int, layout: str, *values) -> bytes:
    content = bytearray(nifti(noise()))
    struct.pack_into(layout, content, at, *values)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"no volume" * 100, "first bytes 6e 6f 20 76 6f 6c 75 6d"),
        (b"\x1c\2\0\0n+2\0\n\x1a\n" + bytes(532), "damaged NIfTI-2 file: its magic number"),
        (changed(344, "4s", bytes(4)), "an Analyze 7.5 file, .*; save it as NIfTI-1"),
        (nifti(noise())[:100], "cut off inside its header"),
        (bytes(128) + b"DICM" + bytes(400), "a DICOM file, .*; give the folder of its series"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, .*; get the file itself with"),
        (changed(344, "4s", b"ni1\0"), "header of a .hdr/.img pair; .* save it as NIfTI-1"),
        (changed(40, "<h", 2), "7 x 6"),
        (changed(40, "<5h", 4, 7, 6, 5, 3), "7 x 6 x 5 x 3"),
        (changed(40, "<4h", 3, 32000, 32000, 32000), "32000 x 32000 x 32000"),
        (changed(42, "<h", -7), "-7 x 6 x 5"),
        (changed(70, "<h", 128), r"data type 128 \(RGB\); save its Hounsfield units as int16"),
        (changed(108, "<f", 0.0), "offset 0, expected at least 352; save it again"),
        (changed(108, "<f", 348.0), "offset 348,"),
        (changed(108, "<f", 352.5), "offset 352.5,"),
        (changed(108, "<f", 1e9), r"offset 1e\+09,"),
        (changed(108, "<f", 12.0), "offset 12,"),
        (changed(108, "<f", math.nan), "offset nan"),
        (nifti(noise()) [:-2], "770 bytes, not 772"),
    ],
)
def test_other_files_are_refused_by_their_header(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ImageError, match=found):
        probe_volume(tmp_path / "a.nii")


# ------------------------------------------------------------------- slices

def test_the_header_tells_the_size_of_a_voxel(tmp_path: Path) -> None:
    for spacing, told in (((0.75, 0.5, 2.5), (0.75, 0.5, 2.5)), ((0.7, 0.7, 0), (0, 0, 0)), ((0.7, -1, 2), (0, 0, 0)),
                          ((0.7, math.nan, 2), (0, 0, 0)), ((math.inf, 1, 2), (0, 0, 0))):
        (tmp_path / "a.nii").write_bytes(nifti(noise(), spacing=spacing))
        assert probe_volume(tmp_path / "a.nii").spacing == told
        assert read_volume(tmp_path / "a.nii").spacing == told


def test_a_volume_is_turned_by_the_files_axes() -> None:
    voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    lying = voxels.transpose(2, 1, 0)
    for signs, turned in (((-1, -1, 1), lying), ((1, 1, 1), lying[::-1, ::-1]), ((-1, 1, 1), lying[:, ::-1]),
                          ((-1, -1, -1), lying[:, :, ::-1])):
        found = turn_volume(Volume(voxels, signs))
        assert np.array_equal(found, turned)
        assert np.shares_memory(found, voxels)
    with pytest.raises(ArgumentError, match="anatomical axes"):
        turn_volume(Volume(voxels))


def test_rows_of_a_plane_run_along_the_lower_axis() -> None:
    grid = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert np.array_equal(cut_plane(grid, "axial", 2), grid[:, :, 2])
    assert np.array_equal(cut_plane(grid, "coronal", 2), grid[:, 2, :])
    assert np.array_equal(cut_plane(grid, "sagittal", 2), grid[2])
    for plane, index in (("axial", 6), ("coronal", 5), ("sagittal", 4), ("axial", -1), ("oblique", 0)):
        with pytest.raises(ArgumentError, match=f"found {plane} {index}, expected .* inside a grid of 4 x 5 x 6"):
            cut_plane(grid, plane, index)
