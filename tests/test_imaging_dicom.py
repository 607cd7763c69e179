"""DICOM read as values: against pydicom for what is whole, and refused for what is damaged or of another kind."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless

from mmtk.errors import ImageError
from mmtk.imaging import Header, dicom_subject, probe_values, read_values
from tests.dicoms import BIG, EXPLICIT, IMPLICIT, NAME, dataset, file, lut, noise, written

SYNTAXES = (IMPLICIT, EXPLICIT, BIG)


def theirs(path: Path):
    """Values and shares from black to white, by pydicom."""
    read = pydicom.dcmread(path)
    units = apply_modality_lut(read.pixel_array, read)
    shown = apply_voi_lut(units, read)
    if "VOILUTSequence" in read:
        return units, shown / ((1 << read.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    ends = [-(1 << read.BitsStored - 1), (1 << read.BitsStored - 1) - 1]
    if not read.PixelRepresentation:
        ends = [0, (1 << read.BitsStored) - 1]
    if "ModalityLUTSequence" in read:
        ends = [0, (1 << read.ModalityLUTSequence[0].LUTDescriptor[2]) - 1]
    low, high = (end * float(read.get("RescaleSlope", 1)) + float(read.get("RescaleIntercept", 0)) for end in ends)
    return units, (shown - low) / (high - low)


def levels(shares):
    return np.floor(np.round(shares * 255, 9) + 0.5)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("shape", [(20, 24), (17, 19)])
def test_whole_files_are_pydicoms(tmp_path: Path, syntax, dtype, shape) -> None:
    info = np.iinfo(dtype)
    stored = 8 if info.bits == 8 else 12
    low, high = (0, 1 << stored) if info.min == 0 else (-(1 << stored - 1), 1 << stored - 1)
    pixels = np.random.default_rng(0).integers(low, high, shape).astype(dtype)
    path = file(tmp_path, pixels, syntax, RescaleSlope="2", RescaleIntercept="-1024", WindowCenter="40.5\\300",
                WindowWidth="400\\1500")
    assert probe_values(path) == Header("dicom", *shape, 1)
    values = read_values(path)
    units, shares = theirs(path)
    assert values.pixels.dtype == np.int16
    np.testing.assert_array_equal(values.pixels, units)
    np.testing.assert_array_equal(values.pixels, pixels.astype(int) * 2 - 1024)
    np.testing.assert_array_equal(values.grey_by_voi(), levels(shares))


@settings(max_examples=300)
@given(
    st.floats(-3000, 3000), st.floats(0.01, 5000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]),
    st.sampled_from([1.0, 2.0, 0.1, -1.5]), st.integers(-1024, 1024), st.booleans(), st.integers(9, 16), st.booleans(),
)
def test_windows_are_pydicoms(tmp_path: Path, center, width, function, slope, inter, signed, stored, inverted) -> None:
    center, width = round(center, 2), round(width, 2)
    assume(width >= 1 or function in ("LINEAR_EXACT", "SIGMOID"))
    low = -(1 << stored - 1) if signed else 0
    pixels = np.random.default_rng(0).integers(low, low + (1 << stored), (16, 64)).astype("i2" if signed else "u2")
    path = file(tmp_path, pixels, BitsStored=stored, WindowCenter=center, WindowWidth=width, VOILUTFunction=function,
                RescaleSlope=slope, RescaleIntercept=inter,
                PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2")
    values = read_values(path)
    with np.errstate(over="ignore"):
        units, shares = theirs(path)
    np.testing.assert_array_equal(values.grey_by_voi(), levels(1 - shares if inverted else shares))
    turned = 2 * low + (1 << stored) - 1 - pixels.astype(int) if inverted else pixels.astype(int)
    np.testing.assert_array_equal(values.pixels, (turned * slope + inter).astype(values.pixels.dtype))
    if not inverted:
        np.testing.assert_array_equal(values.pixels, units.astype(values.pixels.dtype))


@given(st.integers(-500, 4500), st.integers(2, 4000), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
       st.booleans(), st.sampled_from([(1, 0), (2, -1024), (0.25, 3)]))
def test_both_monochromes_of_a_picture_give_equal_rows(tmp_path: Path, center, width, function, signed, rescale):
    """Halves too, which rounding after inversion would make others."""
    slope, inter = rescale
    low = -2048 if signed else 0
    pixels = np.arange(low, low + 4096).reshape(64, 64).astype("i2" if signed else "u2")
    ends = 2 * low + 4095
    middle = center + (0.5 if function == "LINEAR" else 0)
    mirrored = ends * slope + 2 * inter - center + (0.5 if function == "LINEAR" else 0)
    how = {"WindowWidth": width, "VOILUTFunction": function, "RescaleSlope": slope, "RescaleIntercept": inter}
    plain = read_values(file(tmp_path, pixels, WindowCenter=middle, **how))
    other = read_values(file(tmp_path, (ends - pixels.astype(int)).astype(pixels.dtype), WindowCenter=mirrored,
                             PhotometricInterpretation="MONOCHROME1", **how))
    np.testing.assert_array_equal(plain.pixels, other.pixels)
    np.testing.assert_array_equal(plain.grey_by_voi(), other.grey_by_voi())


def test_kinds_of_numbers_go_by_the_header(tmp_path: Path) -> None:
    dark = np.zeros((16, 16), np.uint16)
    assert read_values(file(tmp_path, dark, BitsStored=15)).pixels.dtype == np.int16
    assert read_values(file(tmp_path, dark, BitsStored=16)).pixels.dtype == np.float32
    halves = file(tmp_path, dark + np.uint16(3), RescaleSlope="0.5", RescaleIntercept="0")
    assert read_values(halves).pixels.dtype == np.float32
    assert (read_values(halves).pixels == 1.5).all()


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize(("first", "bits", "count"), [(0, 16, 4096), (100, 12, 1000), (-500, 10, 4096), (0, 8, 256)])
@pytest.mark.parametrize("signed", [False, True])
def test_look_up_tables_are_pydicoms(tmp_path: Path, syntax, first, bits, count, signed) -> None:
    """And go before a window. (Entries of 8 bits pydicom looks up by 8 bits, so they stay below here.)"""
    if first < 0 and not signed:
        first = 0
    entries = np.random.default_rng(1).integers(0, 1 << bits, count)
    low, high = (0, 256) if bits == 8 else (-2048, 2048) if signed else (0, 4096)
    pixels = np.random.default_rng(0).integers(low, high, (20, 20)).astype("i2" if signed else "u2")
    kind = "SS" if signed and count < 1 << 15 else "US"
    path = file(tmp_path, pixels, syntax, VOILUTSequence=lut(first, bits, entries, kind), WindowCenter=5,
                WindowWidth=9)
    np.testing.assert_array_equal(read_values(path).grey_by_voi(), levels(theirs(path)[1]))
    path = file(tmp_path, pixels, syntax, ModalityLUTSequence=lut(max(first, 0), max(bits, 8) if bits in (8, 16) else
                                                                 16, entries, kind),
                WindowCenter=500, WindowWidth=900)
    units, shares = theirs(path)
    np.testing.assert_array_equal(read_values(path).pixels, units.astype(np.float32))
    np.testing.assert_array_equal(read_values(path).grey_by_voi(), levels(shares))


def test_sequences_without_lengths_and_private_ones_are_walked(tmp_path: Path) -> None:
    drawn = dataset(noise(), VOILUTSequence=lut(0, 12, np.arange(4096)[::-1]))
    drawn["VOILUTSequence"].is_undefined_length = True
    drawn.VOILUTSequence[0].is_undefined_length_sequence_item = True
    block = drawn.private_block(0x0009, "mmtk", create=True)
    block.add_new(1, "SQ", lut(1, 8, np.arange(3)))
    block.add_new(2, "UN", b"\1\2\3\4")
    drawn.add_new(0x60000010, "US", 20)  # an overlay's rows
    path = tmp_path / "a.dcm"
    for syntax in SYNTAXES[:2]:
        drawn.file_meta.TransferSyntaxUID = syntax
        path.write_bytes(written(drawn))
        np.testing.assert_array_equal(read_values(path).grey_by_voi(), levels(theirs(path)[1]))


def test_bits_above_those_that_count_are_cleared(tmp_path: Path) -> None:
    """As an overlay in them, or a sign that was not carried on."""
    pixels = noise()
    path = file(tmp_path, pixels | np.uint16(0xA000))
    np.testing.assert_array_equal(read_values(path).pixels, pixels)
    path = file(tmp_path, pixels.view(np.int16))
    wanted = np.where(pixels > 2047, pixels.astype(int) - 4096, pixels)
    np.testing.assert_array_equal(read_values(path).pixels, wanted)


def test_files_in_archives_and_their_checksum(tmp_path: Path) -> None:
    """A changed byte inside the pixels passes on disk, where nothing could tell it, and in a zip does not."""
    content = bytearray(written(dataset(noise())))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm", bytes(content))
    inside = zipfile.Path(tmp_path / "a.zip", "a.dcm")

    class Member:
        def open(self, mode):
            return inside.open("rb")

        def __fspath__(self):
            return "a.zip/a.dcm"

    assert probe_values(Member()) == Header("dicom", 20, 24, 1)
    np.testing.assert_array_equal(read_values(Member()).pixels, noise())
    assert dicom_subject(Member()) == "p7"
    packed = bytearray((tmp_path / "a.zip").read_bytes())
    at = packed.find(noise().tobytes()) + 100
    packed[at] ^= 1
    (tmp_path / "a.zip").write_bytes(packed)
    with pytest.raises(ImageError, match="CRC"):
        read_values(Member())
    content[-100] ^= 1
    (tmp_path / "a.dcm").write_bytes(content)
    assert (read_values(tmp_path / "a.dcm").pixels != noise()).sum() == 1


# ------------------------------------------------------------------- subjects


@pytest.mark.parametrize(("charset", "id"), [(None, "p7"), ("ISO_IR 100", "Zoë 5"), ("ISO_IR 192", "患者-1"), ("GB18030", "患者"),
                                              ("ISO_IR 144", "Ива")])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_ids_of_patients(tmp_path: Path, charset, id, syntax) -> None:
    assert dicom_subject(file(tmp_path, noise(), syntax, SpecificCharacterSet=charset, PatientID=id)) == id


def test_no_id_is_an_empty_one_and_unknown_characters_are_refused(tmp_path: Path) -> None:
    assert dicom_subject(file(tmp_path, noise(), PatientID=None)) == ""
    assert dicom_subject(file(tmp_path, noise(), PatientID="")) == ""
    content = written(dataset(noise(), PatientID="xy"))
    (tmp_path / "a.dcm").write_bytes(content.replace(b"xy", b"\xff\xfe"))
    with pytest.raises(ImageError, match=r"found other bytes than ASCII has; write it in UTF-8"):
        dicom_subject(tmp_path / "a.dcm")


def test_names_of_patients_are_never_read(tmp_path: Path) -> None:
    path = file(tmp_path, noise(), WindowCenter=3, WindowWidth=5)
    content = path.read_bytes()
    at, end = content.index(NAME.encode()), content.index(NAME.encode()) + len(NAME)

    class Watched(io.BytesIO):
        def read(self, size=-1):
            start = self.tell()
            data = super().read(size)
            if start >= 512:
                assert start + len(data) <= at or start >= end
            return data

        def fileno(self):
            raise AssertionError

    long = content.replace(b"\0" * 128, b"\0" * 128, 1)
    from mmtk.imaging._dicom import probe_dicom

    class Member:
        def __fspath__(self):
            return "a"

    header = probe_dicom(Watched(long), Member())
    assert NAME not in repr(header)
    assert "p7" not in repr(header)
