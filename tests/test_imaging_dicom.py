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
from tests.commands import peak_of
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

    class Member:
        def open(self, mode):
            return zipfile.Path(tmp_path / "a.zip", "a.dcm").open("rb")

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


@pytest.mark.parametrize(
    ("charset", "id"),
    [(None, "p7"), ("ISO_IR 100", "Zoë 5"), ("ISO_IR 192", "患者-1"), ("GB18030", "患者"), ("ISO_IR 144", "Ива")],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_ids_of_patients(tmp_path: Path, charset, id, syntax) -> None:
    assert dicom_subject(file(tmp_path, noise(), syntax, SpecificCharacterSet=charset, PatientID=id)) == id


def test_no_id_is_an_empty_one_and_unknown_characters_are_refused(tmp_path: Path) -> None:
    assert dicom_subject(file(tmp_path, noise(), PatientID=None)) == ""
    assert dicom_subject(file(tmp_path, noise(), PatientID="")) == ""
    content = written(dataset(noise(), PatientID="xy"))
    (tmp_path / "a.dcm").write_bytes(content.replace(b"xy", b"\xff\xfe"))
    with pytest.raises(ImageError, match=r"decoded as ASCII; rewrite it in UTF-8"):
        dicom_subject(tmp_path / "a.dcm")


def test_names_and_ids_of_patients_are_passed_over_unread(tmp_path: Path) -> None:
    from mmtk.imaging._dicom import probe_dicom

    content = written(dataset(noise(), WindowCenter=3, WindowWidth=5, PatientID="p7-secret"))
    places = [(content.index(text), len(text)) for text in (NAME.encode(), b"p7-secret")]

    class Watched(io.BytesIO):
        def read(self, size=-1):
            start = self.tell()
            data = super().read(size)
            for at, length in places:  # but for a last byte, which shows that the file goes on so far
                assert start + len(data) <= at or start >= at + length - 1
            return data

    class Member:
        def __fspath__(self):
            return "a"

    header = probe_dicom(Watched(content), Member())
    assert (header.height, header.width) == (20, 24)
    with pytest.raises(AssertionError):
        Watched(content).read()


# ------------------------------------------------------------------- refused


def refused(path: Path) -> str:
    """The line that both functions refuse a file with."""
    with pytest.raises(ImageError) as caught:
        read_values(path)
    with pytest.raises(ImageError) as probed:
        probe_values(path)
    line = str(caught.value)
    assert str(probed.value) == line
    assert "\n" not in line
    return line.removeprefix(f"{path}: ")


OTHERS = [
    ({"NumberOfFrames": 30}, "found 30 frames, expected 1; save each frame"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
     "not greyscale; found RGB with 3 samples per pixel"),
    ({"PhotometricInterpretation": "YBR_FULL", "SamplesPerPixel": 3}, "found YBR_FULL with 3 samples"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "found PALETTE COLOR with 1 samples"),
    ({"PhotometricInterpretation": None}, "found no photometric interpretation with 1"),
    ({"SamplesPerPixel": None}, "found MONOCHROME2 with no samples"),
    ({"PixelData": None}, "has no pixel data; remove it"),
    ({"PixelData": None, "FloatPixelData": b"\0" * 1920}, "has float pixels, which are not supported"),
    ({"PixelData": None, "DoubleFloatPixelData": b"\0" * 3840}, "has double float pixels"),
    ({"Rows": 15}, "found 24 x 15 pixels, expected 16 to 10000"),
    ({"Columns": 10_001}, "found 10001 x 20 pixels"),
    ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
     "bits stored 32, bits allocated 32, pixel representation 0"),
    ({"BitsStored": 17}, "bits stored 17, bits allocated 16"),
    ({"PixelRepresentation": None}, "pixel representation -1"),
    ({"HighBit": 15}, "found high bit 15, expected 11"),
    ({"PixelData": noise().tobytes()[:-2]},
     "958 bytes, not 960 bytes (24 x 20 of 16 bits)"),
    ({"PixelData": noise().tobytes() + b"\0\0"}, "962 bytes, not 960"),
    ({"RescaleSlope": 1}, "only one of rescale slope and intercept"),
    ({"RescaleSlope": 0, "RescaleIntercept": 0}, "has a rescale slope of 0"),
    ({"RescaleSlope": 1, "RescaleIntercept": 0, "ModalityLUTSequence": lut(0, 8, np.arange(9))}, "both a modality"),
    ({"RescaleSlope": [1, 2], "RescaleIntercept": 0}, "element (0028,1053) is '1.0\\\\2.0', not 1 number"),
    ({"ImagePositionPatient": [1, 2]}, "element (0020,0032) is '1.0\\\\2.0', not 3 numbers"),
]


@pytest.mark.parametrize(("more", "line"), OTHERS)
def test_other_images_are_refused(tmp_path: Path, more: dict, line: str) -> None:
    assert line in refused(file(tmp_path, noise(), **more))


PACKED = [
    ("1.2.840.10008.1.2.1.99", "deflate"), (JPEGLosslessSV1, "JPEG lossless"), (JPEG2000, "JPEG 2000"),
    ("1.2.840.10008.1.2.4.80", "JPEG-LS"), ("1.2.840.10008.1.2.4.51", "JPEG extended"),
    ("1.2.840.10008.1.2.4.201", "HTJ2K"),
]


@pytest.mark.parametrize(("syntax", "name"), PACKED)
def test_packings_that_cannot_be_proved_are_refused(tmp_path: Path, syntax: str, name: str) -> None:
    path = tmp_path / "a.dcm"
    content = written(dataset(noise(), EXPLICIT))
    old, new = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (EXPLICIT, syntax))
    at = content.index(old)
    length = struct.unpack_from("<I", content, 140)[0] + len(new) - len(old)
    path.write_bytes(content[:140] + struct.pack("<I", length) + content[144 : at - 2] + struct.pack("<H", len(new))
                     + new + content[at + len(old) :])
    assert f"unsupported transfer syntax; found {name} ({syntax}), expected" in refused(path)
    assert refused(path).endswith("`gdcmconv --raw IN OUT`")


def test_directories_and_what_is_no_dicom_are_refused(tmp_path: Path) -> None:
    drawn = dataset(noise(), PixelData=None)
    drawn.file_meta.MediaStorageSOPClassUID = drawn.SOPClassUID = "1.2.840.10008.1.3.10"
    path = tmp_path / "DICOMDIR"
    path.write_bytes(written(drawn))
    assert "is a DICOMDIR index" in refused(path)
    path.write_bytes(written(dataset(noise()))[132:])
    with pytest.raises(ImageError, match="DICOM"):
        read_values(path)
    with pytest.raises(ImageError, match=r"without its first 132 bytes.*`gdcmconv"):
        dicom_subject(path)
    path.write_bytes(b"")
    assert "an empty file" in refused(path)


def test_a_missing_or_odd_window_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    for more, reason in (
        ({}, ""), ({"WindowCenter": 5}, ": its windows have 1 centers and 0 widths"),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, ": its window has center 5.0 and width 0.5"),
        ({"WindowCenter": 5, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
         ": its window has center 5.0 and width 0.0"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, ": its window function CUBIC is unknown"),
    ):
        path = file(tmp_path, noise(), **more)
        values = read_values(path)
        with pytest.raises(ImageError) as caught:
            values.grey_by_voi()
        assert f"no usable window or look-up table{reason}; give a level" in str(caught.value)


@pytest.mark.parametrize("table", [lut(0, 8, np.arange(300)), lut(0, 17, np.arange(9)), lut(0, 7, np.arange(9))])
def test_odd_tables_are_refused(tmp_path: Path, table) -> None:
    path = file(tmp_path, noise(), VOILUTSequence=table)
    with pytest.raises(ImageError, match="look-up table"):
        read_values(path)
    del table[0][0x00283006]
    with pytest.raises(ImageError, match=": 0 bytes for"):
        read_values(file(tmp_path, noise(), VOILUTSequence=table))


# ------------------------------------------------------------------- packed


def packbits(data: bytes) -> bytes:
    packed = b"".join(bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128))
    return packed + b"\0" * (len(packed) % 2)


def rle(pixels, *, less: int = 0, segments: int = 0) -> bytes:
    planes = [pixels] if pixels.dtype == np.uint8 else [pixels >> 8, pixels & 255]
    parts = [packbits(plane.astype(np.uint8).tobytes()[: plane.size - less]) for plane in planes]
    starts = [64 + sum(map(len, parts[:place])) for place in range(len(parts))]
    head = struct.pack("<16I", segments or len(parts), *starts, *[0] * (15 - len(parts)))
    return head + b"".join(parts)


@pytest.mark.parametrize("pixels", [noise(), noise((17, 19), 8).astype(np.uint8)])
def test_rle_must_unpack_to_its_very_length(tmp_path: Path, pixels) -> None:
    path = file(tmp_path, pixels, RLELossless, PixelData=encapsulate([rle(pixels)]))
    np.testing.assert_array_equal(read_values(path).pixels, pixels)
    np.testing.assert_array_equal(read_values(path).pixels, pydicom.dcmread(path).pixel_array)
    for content in (rle(pixels, less=1), rle(pixels, segments=3), rle(pixels)[:-30], rle(pixels) + b"\0\0", b"\0" * 60):
        path = file(tmp_path, pixels, RLELossless, PixelData=encapsulate([content]))
        with pytest.raises(ImageError, match="RLE"):
            read_values(path)


def jpeg2000(pixels) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", no_jp2=True)
    return stream.getvalue()


@pytest.mark.parametrize("pixels", [noise((40, 50), 16), noise((33, 31), 8).astype(np.uint8)])
def test_jpeg_2000_lossless(tmp_path: Path, pixels, capfd) -> None:
    bits = pixels.dtype.itemsize * 8
    packed = jpeg2000(pixels)
    path = file(tmp_path, pixels, JPEG2000Lossless, BitsStored=bits, PixelData=encapsulate([packed]))
    np.testing.assert_array_equal(read_values(path).pixels, pixels)
    signed = packed[:42] + bytes([packed[42] | 0x80]) + packed[43:]  # the same numbers half a range lower
    low = (pixels.astype(int) - (1 << bits - 1)).astype(f"i{bits // 8}")
    path = file(tmp_path, low, JPEG2000Lossless, BitsStored=bits, PixelData=encapsulate([signed]))
    np.testing.assert_array_equal(read_values(path).pixels, low)
    assert capfd.readouterr() == ("", "")
    for at in range(2, len(packed) - 2, 7):
        for content in (packed[:at], packed[:at] + b"\xff\xd9", packed + b"\xff\xd9"):
            path = file(tmp_path, pixels, JPEG2000Lossless, BitsStored=bits, PixelData=encapsulate([content]))
            with pytest.raises(ImageError, match="JPEG 2000"):
                read_values(path)
    other = file(tmp_path, low, JPEG2000Lossless, BitsStored=bits, PixelData=encapsulate([packed]))
    with pytest.raises(ImageError, match=r"found unsigned .* expected signed"):
        read_values(other)
    other = file(tmp_path, pixels[:-1], JPEG2000Lossless, BitsStored=bits, PixelData=encapsulate([packed]))
    with pytest.raises(ImageError, match="do not match its header"):
        read_values(other)


def test_jpeg_baseline_is_decoded_strictly(tmp_path: Path) -> None:
    pixels = cv2.GaussianBlur(noise((40, 50), 8).astype(np.uint8), (0, 0), 3)
    packed = cv2.imencode(".jpg", pixels)[1].tobytes()
    path = file(tmp_path, pixels, JPEGBaseline8Bit, PixelData=encapsulate([packed]))
    np.testing.assert_array_equal(read_values(path).pixels, cv2.imdecode(np.frombuffer(packed, np.uint8), -1))
    for content in (packed[:-40], packed[:300], packed[:20]):
        path = file(tmp_path, pixels, JPEGBaseline8Bit, PixelData=encapsulate([content]))
        with pytest.raises(ImageError):
            read_values(path)
    path = file(tmp_path, pixels[1:], JPEGBaseline8Bit, PixelData=encapsulate([packed]))
    with pytest.raises(ImageError, match="do not match its header"):
        read_values(path)


@pytest.mark.parametrize("frames", [[rle(noise()), rle(noise())], [b"\0\0"]])
def test_fragments_of_another_order_are_refused(tmp_path: Path, frames) -> None:
    path = file(tmp_path, noise(), RLELossless, PixelData=encapsulate(frames))
    with pytest.raises(ImageError, match=r"do not form a single image|RLE"):
        read_values(path)


# ------------------------------------------------------------------- damage

WHOLE = {syntax: written(dataset(noise(), syntax, WindowCenter=2000, WindowWidth=900, RescaleSlope="1.0",
                                 RescaleIntercept="-1024.0", VOILUTFunction="LINEAR_EXACT",
                                 Manufacturer="x" * 40, ProcedureCodeSequence=lut(0, 8, np.arange(9))))
         for syntax in SYNTAXES}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_cut_file_passes(tmp_path: Path, syntax) -> None:
    path = tmp_path / "a.dcm"
    for length in range(132, len(WHOLE[syntax])):
        path.write_bytes(WHOLE[syntax][:length])
        with pytest.raises(ImageError) as caught:
            read_values(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(ImageError):
            probe_values(path)


@pytest.mark.slow
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_flipped_bits_of_the_header_change_no_image_unseen(tmp_path: Path, syntax) -> None:
    """But for a sign, digits that make another number, and the tag of what may be missing: nothing tells of these."""
    whole, path = WHOLE[syntax], tmp_path / "a.dcm"
    path.write_bytes(whole)
    truth = read_values(path)
    start = len(whole) - noise().nbytes
    numbers = [(b"-1024.0 ", 8), (b"1.0 ", 4), (b"2000.0", 6), (b"900.0 ", 6)]
    free = {place + n for value, count in numbers for place in [whole.index(value)] for n in range(count)}
    order = ">" if syntax == BIG else "<"
    sign = whole.index(struct.pack(order + "HH", 0x28, 0x103))
    function = whole.index(struct.pack(order + "HH", 0x28, 0x1056))
    free |= {*range(sign + 8, sign + 10), *range(function, function + 4)}
    passed, lines = 0, set()
    for at in range(132, start):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                found = read_values(path)
                grey = found.grey_by_voi()
            except ImageError as error:
                lines.add(str(error).count("\n"))
                continue
            if at not in free:
                np.testing.assert_array_equal(found.pixels, truth.pixels, f"byte {at}, bit {bit}")
                np.testing.assert_array_equal(grey, truth.grey_by_voi(), f"byte {at}, bit {bit}")
            passed += 1
    assert passed < 4 * (start - 132)
    assert lines == {0}


def test_trailing_elements_are_walked(tmp_path: Path) -> None:
    content = written(dataset(noise()))
    path = tmp_path / "a.dcm"
    padding = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 8) + b"\0" * 8
    path.write_bytes(content + padding)
    np.testing.assert_array_equal(read_values(path).pixels, noise())
    for tail in (padding[:-1], b"\0", b"\0" * 8, content[-300:]):
        path.write_bytes(content + tail)
        with pytest.raises(ImageError, match="damaged DICOM file"):
            read_values(path)


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from(SYNTAXES), st.integers(0, 2000))
def test_any_bytes_are_read_or_refused_in_a_line(tmp_path: Path, junk, syntax, at) -> None:
    whole = WHOLE[syntax]
    at = 132 + at % (len(whole) - 132)
    path = tmp_path / "a.dcm"
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    told = ""
    for function in (read_values, probe_values, dicom_subject):
        try:
            function(path)
        except ImageError as error:
            told += str(error)
    assert "\n" not in told


def test_sequences_inside_each_other_have_a_bottom(tmp_path: Path) -> None:
    content = written(dataset(noise()))
    deep = struct.pack("<HH2sHI", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    at = content.index(struct.pack("<HH", 0x7FE0, 0x10))
    (tmp_path / "a.dcm").write_bytes(content[:at] + (deep + item) * 3000 + content[at:])
    with pytest.raises(ImageError, match="more than 16 nested sequences"):
        read_values(tmp_path / "a.dcm")


def test_reading_dicom_imports_neither_library(tmp_path: Path) -> None:
    import subprocess

    path = file(tmp_path, noise())
    code = "import sys; from mmtk.imaging import read_values; read_values(sys.argv[1]); " \
           "assert not {'pydicom', 'SimpleITK', 'cv2'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_the_largest_image_takes_its_codes_and_its_values(tmp_path: Path) -> None:
    path = file(tmp_path, np.full((10_000, 10_000), 5, np.uint16), RescaleSlope="1", RescaleIntercept="-1024")
    code = "assert read_values(path).pixels.max() == -1019"
    peak, line = peak_of(code, path, first="from mmtk.imaging import read_values")
    assert line == "read"
    assert peak < 2 * 191 + 16
