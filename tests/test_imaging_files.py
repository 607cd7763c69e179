"""Reading PNG and JPEG: the pixels that MedMNIST's makers saw, and a clear refusal of everything else."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mmtk.errors import ArgumentError, ImageError, MmtkError, SourceError, system_remedy
from mmtk.imaging import Header, probe, read_image, round_trip
from tests import pictures, reference
from tests.commands import peak_of
from tests.pictures import END, chunk, picture

RNG = np.random.default_rng(0)


GREY, RGB = picture((24, 37), "soft"), picture((24, 37, 3), "soft", 1)
RGBA = np.dstack([RGB, picture(GREY.shape)])


def png(image, colour, *, size=None, depth=8, before=b"", pixels=None, after=b"", end=END, interlace=0):
    """A PNG made by hand, so that every part of it can be wrong."""
    height, width = size or image.shape[:2]
    if pixels is None:
        pixels = zlib.compress(b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in image))
    parts = (before, chunk(b"IDAT", pixels), after, end)
    return pictures.png(width, height, colour, *parts, depth=depth, interlace=interlace)


def jpeg(image, *options):
    image = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


def exif(orientation, order="<"):
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(order + "H", 1) + entry + struct.pack(order + "I", 0)


def with_exif(data, block):
    body = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def pillow(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture
def file(tmp_path):
    """Write bytes to a file and give its path."""

    def write(data, name="image.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refused(path, *, header_too=True):
    """The one line that both probe and read_image say; header_too: whether the header alone tells."""
    with pytest.raises(ImageError) as caught:
        read_image(path, colour=False)
    with pytest.raises(ImageError):
        read_image(path, colour=True)
    line = str(caught.value)
    if header_too:
        with pytest.raises(ImageError) as early:
            probe(path)
        assert str(early.value) == line
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


# --------------------------------------------------------------------------------------------------- PNG


def test_png_pixels(file):
    for data, channels in [(png(GREY, 0), 1), (png(np.dstack([GREY, GREY // 2]), 4), 2)]:
        path = file(data)
        assert probe(path) == Header("png", 24, 37, channels)
        np.testing.assert_array_equal(read_image(path, colour=False), GREY)
        np.testing.assert_array_equal(read_image(path, colour=True), np.dstack([GREY] * 3))
    for data, channels in [(png(RGB, 2), 3), (png(RGBA, 6), 4)]:
        path = file(data)
        assert probe(path) == Header("png", 24, 37, channels)
        np.testing.assert_array_equal(read_image(path, colour=True), RGB)
        np.testing.assert_array_equal(read_image(path, colour=False), reference.grey(RGB))


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def test_an_interlaced_png_is_read(file):
    rows = [b"\0" + row.tobytes() for top, left, down, right in ADAM7 for row in RGB[top::down, left::right]]
    path = file(png(RGB, 2, interlace=1, pixels=zlib.compress(b"".join(rows))))
    np.testing.assert_array_equal(read_image(path, colour=True), RGB)


@settings(max_examples=20)
@given(st.integers(16, 60), st.integers(16, 60), st.integers(0, 99))
def test_grey_of_a_colour_png_is_the_references(tmp_path, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = tmp_path / "colour.png"
    Image.fromarray(image).save(path)
    grey = read_image(path, colour=False)
    assert grey.flags.c_contiguous
    np.testing.assert_array_equal(grey, reference.grey(image))


def test_what_does_not_touch_pixels_is_accepted(file):
    transparent = chunk(b"tRNS", b"\0\x05")
    for data in (png(GREY, 0) + b"junk after the end", png(GREY, 0, before=chunk(b"tEXt", b"a\0b")),
                 png(GREY, 0, before=transparent), png(GREY, 0, after=chunk(b"tIME", bytes(7)))):
        np.testing.assert_array_equal(read_image(file(data), colour=False), GREY)


def test_a_png_is_read_whatever_its_name_says(file):
    np.testing.assert_array_equal(read_image(file(png(GREY, 0), "wrong.jpg"), colour=False), GREY)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (png(np.dstack([GREY, GREY]), 0, depth=16), "16-bit grey"),
        (png(np.dstack([RGB, RGB]), 2, depth=16), "16-bit RGB"),
        (png(GREY, 3, before=chunk(b"PLTE", bytes(768))), "8-bit palette"),
        (png(GREY[:, :5], 0, size=(24, 37), depth=1), "1-bit grey"),
        (png(GREY, 0, depth=4), "4-bit grey"),
        (png(GREY, 1), "8-bit unknown colour type"),
        (png(GREY[:1, :1], 0), "1 x 1 pixels"),
        (png(GREY[:15, :], 0), "37 x 15 pixels"),
        (png(GREY, 0, size=(30_000, 30_000)), "30000 x 30000 pixels"),
        (png(GREY, 0, size=(24, 10_001)), "10001 x 24 pixels"),
        (png(GREY, 0, size=(0, 37)), "37 x 0 pixels"),
        (png(GREY, 0)[:20] + b"\x01" + png(GREY, 0)[21:], "its header chunk is corrupt"),
        (png(GREY, 0).replace(b"IHDR", b"IHDX"), "its header chunk is corrupt"),
        (png(GREY, 0)[:32], "cut off inside its header"),
        (b"", "an empty file"),
        (b"\x89PN", "cut off inside its header"),
        (b"This is no picture.\n", "first bytes 54 68 69 73 20 69 73 20"),
        (b"BM\x00\x00\x00\x00\x00\x00\x00\x00", "a BMP image, not a PNG"),
    ],
)
def test_the_header_of_a_png_tells_what_is_wrong(file, data, found, capfd):
    assert found in refused(file(data, "image.png"))
    assert capfd.readouterr() == ("", "")


def test_every_truncation_of_a_png_is_refused(file, capfd):
    data = png(RGB, 2, before=chunk(b"tEXt", b"key\0value"))
    for length in range(len(data)):
        refused(file(data[:length]), header_too=length < 33)
    assert capfd.readouterr() == ("", "")


def test_every_flipped_byte_of_a_png_is_noticed(file):
    data = png(GREY, 0, before=chunk(b"tEXt", b"key\0value"))
    for at in range(len(data)):
        path = file(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(ImageError):
            read_image(path, colour=False)


RAW = b"".join(b"\0" + row.tobytes() for row in GREY)


@pytest.mark.parametrize(
    "data",
    [
        png(GREY, 0, pixels=zlib.compress(RAW[:-38])),
        png(GREY, 0, pixels=zlib.compress(RAW)[:-30]),
        png(GREY, 0, pixels=b""),
        png(GREY, 0, pixels=b"not zlib"),
        png(GREY, 0, pixels=zlib.compress(b"\x09" + RAW[1:])),
        png(GREY, 0, before=chunk(b"ABCD", b"unknown and critical")),
        png(GREY, 0, end=b""),
    ],
    ids=["rows", "cut", "empty", "no stream", "filter", "critical", "no end"],
)
def test_wrong_pixels_behind_right_checksums_are_refused(file, data):
    refused(file(data), header_too=False)


@pytest.mark.parametrize("missing", [None, "deflate", "mmtk._native"])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("change", ["more", "fewer", "checksum", "cut"])
def test_pixels_in_another_number_are_refused_of_each_kind(file, monkeypatch, missing, interlace, change):
    """Also where OpenCV decodes, which would pass over what is too much, and over zlib's own checksum."""
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    passes = ADAM7 if interlace else ((0, 0, 1, 1),)
    raw = b"".join(b"\0" + row.tobytes() for top, left, down, right in passes for row in RGB[top::down, left::right])
    whole = zlib.compress(raw)
    np.testing.assert_array_equal(read_image(file(png(RGB, 2, interlace=interlace, pixels=whole)), True), RGB)
    wrong = {
        "more": zlib.compress(raw + b"\0"), "fewer": zlib.compress(raw[:-1]), "checksum": whole[:-1] + b"\x55",
        "cut": whole[:-1],
    }
    for before in (b"", chunk(b"gAMA", b"\0\0\xb1\x8f")):
        path = file(png(RGB, 2, interlace=interlace, pixels=wrong[change], before=before))
        assert "is a damaged PNG: " in refused(path, header_too=False)


def test_a_png_without_pixels_is_refused(file, capfd):
    assert "no pixel data" in refused(file(png(GREY, 0)[:33] + chunk(b"IEND")), header_too=False)
    assert capfd.readouterr() == ("", "")  # OpenCV would log


# -------------------------------------------------------------------------------------------------- JPEG

PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
S444 = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


@pytest.mark.parametrize("options", [(), PROGRESSIVE, RESTARTS, S444], ids=["plain", "progressive", "restarts", "444"])
@pytest.mark.parametrize("image", [GREY, RGB], ids=["grey", "rgb"])
def test_jpeg_pixels_are_opencvs(file, image, options):
    data = jpeg(image, *options)
    path = file(data)
    assert probe(path) == Header("jpeg", 24, 37, 1 if image.ndim == 2 else 3)
    raw = np.frombuffer(data, np.uint8)
    grey, colour = read_image(path, colour=False), read_image(path, colour=True)
    np.testing.assert_array_equal(grey, cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE))
    np.testing.assert_array_equal(colour, cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1])


def test_grey_of_a_colour_jpeg_is_its_luma_plane(file):
    data = jpeg(RGB, *S444)
    image = Image.open(io.BytesIO(data))
    image.draft("L", image.size)  # Pillow's way to ask the decoder for luma only
    np.testing.assert_array_equal(read_image(file(data), colour=False), np.asarray(image))


def test_a_jpeg_stored_as_rgb_is_read(file):
    data = pillow(Image.fromarray(RGB), "JPEG", quality=90, keep_rgb=True)
    path = file(data)
    raw = np.frombuffer(data, np.uint8)
    np.testing.assert_array_equal(read_image(path, colour=False), cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE))
    np.testing.assert_array_equal(read_image(path, colour=True), np.asarray(Image.open(path)))


def frame(data, *, marker=None, height=None, width=None, precision=None):
    """A JPEG with another frame header."""
    at = data.index(b"\xff\xc0")
    old = struct.unpack(">BHH", data[at + 4 : at + 9])
    new = [a if b is None else b for a, b in zip(old, (precision, height, width), strict=True)]
    return data[: at + 1] + bytes([marker or 0xC0]) + data[at + 2 : at + 4] + struct.pack(">BHH", *new) + data[at + 9 :]


CMYK = pillow(Image.merge("CMYK", [Image.fromarray(GREY)] * 4), "JPEG")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (CMYK, "8 bits and 4 channels (CMYK)"),
        (frame(jpeg(GREY), precision=12), "12 bits and 1 channels"),
        (frame(jpeg(GREY), marker=0xC3), "lossless"),
        (frame(jpeg(GREY), marker=0xC9), "arithmetic"),
        (frame(jpeg(RGB), height=30_000, width=30_000), "30000 x 30000 pixels"),
        (frame(jpeg(RGB), height=1, width=1), "1 x 1 pixels"),
        (frame(jpeg(RGB), height=0), "37 x 0 pixels"),
        (jpeg(GREY)[:2] + jpeg(GREY)[jpeg(GREY).index(b"\xff\xda") :], "JPEG: its header is corrupt"),
        (jpeg(GREY)[:2] + b"\xff\xe0\0\1" + jpeg(GREY)[2:], "JPEG: its header is corrupt"),
        (jpeg(GREY)[:2] + b"\xff\xd9" + jpeg(GREY)[2:], "JPEG: its header is corrupt"),
        (jpeg(GREY)[:20] + b"junk" + jpeg(GREY)[20:], "JPEG: its header is corrupt"),
        (b"\xff\xd8" + b"\xff" * 100_000, "JPEG: its header is corrupt"),
        (b"\xff\xd8\xff", "cut off inside its header"),
        (b"\xff", "cut off inside its header"),
    ],
)
def test_the_header_of_a_jpeg_tells_what_is_wrong(file, data, found, capfd):
    assert found in refused(file(data, "image.jpg"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [jpeg(GREY), jpeg(RGB), jpeg(RGB, *PROGRESSIVE), jpeg(RGB, *RESTARTS)],
                         ids=["grey", "rgb", "progressive", "restarts"])
def test_every_truncation_of_a_jpeg_is_refused(file, data, capfd):
    start = data.index(b"\xff\xda")
    for length in range(len(data)):
        refused(file(data[:length]), header_too=length < start + 2)
    read_image(file(data + b"junk after the end"), colour=False)
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_that_its_decoder_warns_about_is_refused(file):
    data = bytearray(jpeg(GREY))
    data[data.index(b"\xff\xda") + 40] = 0xFF
    data[data.index(b"\xff\xda") + 41] = 0xC4
    assert cv2.imdecode(np.frombuffer(bytes(data), np.uint8), cv2.IMREAD_GRAYSCALE) is not None  # OpenCV says nothing
    assert "is a damaged JPEG" in refused(file(bytes(data)), header_too=False)


@settings(max_examples=300)
@given(st.data())
def test_damage_gives_pixels_or_one_line(tmp_path, data):
    """Any bytes overwritten anywhere: an image of the header's size or an ImageError, nothing else."""
    whole = bytearray(data.draw(st.sampled_from([jpeg(GREY), jpeg(RGB, *PROGRESSIVE), with_exif(jpeg(RGB), exif(6))])))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.jpg"
    path.write_bytes(whole)
    try:
        image = read_image(path, colour=True)
    except ImageError as error:
        line = str(error)
    else:
        line = ""
        assert image.shape[:2] == probe(path)[1:3]
    assert "\n" not in line


def test_without_simplejpeg_a_jpeg_is_refused_clearly(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(MmtkError, match=r"not installed; pip install simplejpeg"):
        read_image(file(jpeg(GREY)), colour=False)


# --------------------------------------------------------------------------------------- EXIF orientation

TURNED = {  # the picture as it is meant to be seen
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", [*TURNED, 0, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_applied(file, orientation, order):
    turn = TURNED.get(orientation, TURNED[1])
    for plain in (jpeg(GREY), jpeg(RGB)):
        for colour in (False, True):
            upright = read_image(file(plain), colour)
            path = file(with_exif(plain, exif(orientation, order)))
            assert probe(path)[1:3] == turn(upright).shape[:2]
            np.testing.assert_array_equal(read_image(path, colour), turn(upright))
    path = file(png(RGB, 2, before=chunk(b"eXIf", exif(orientation, order))))
    assert probe(path)[1:3] == turn(RGB).shape[:2]
    np.testing.assert_array_equal(read_image(path, colour=True), turn(RGB))


DAMAGED = [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"XX*\0\x08\0\0\0", exif(6)[:12], exif(6)[:8]]


@pytest.mark.parametrize("block", DAMAGED)
def test_a_damaged_exif_block_says_nothing(file, block):
    path = file(with_exif(jpeg(GREY), block))
    assert probe(path)[1:3] == GREY.shape
    np.testing.assert_array_equal(read_image(path, colour=False), read_image(file(jpeg(GREY)), colour=False))


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("image", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_an_orientation_behind_the_pixels_counts_too(file, monkeypatch, orientation, image, size):
    """For the header as for the pixels, by the kernel in C and by OpenCV, in a file of one block and in one of many."""
    if size == "large":
        image = np.random.default_rng(0).integers(0, 256, (90, 100, *image.shape[2:]), dtype=np.uint8)
    path = file(png(image, 0 if image.ndim == 2 else 2, after=chunk(b"eXIf", exif(orientation))))
    meant = TURNED[orientation](image)
    grey = meant if image.ndim == 2 else reference.grey(meant)
    for native in (True, False):
        if not native:
            monkeypatch.setitem(sys.modules, "mmtk._native", None)
        assert probe(path)[1:3] == meant.shape[:2]
        np.testing.assert_array_equal(read_image(path, colour=False), grey)
        colour = meant if meant.ndim == 3 else np.dstack([meant] * 3)
        np.testing.assert_array_equal(read_image(path, colour=True), colour)


def entry(kind, count, value, *, tag=0x0112, order="<"):
    """An EXIF block of one tag whose value is given as bytes."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHI", 1, tag, kind, count) + value.ljust(4, b"\0") + bytes(4)


def block(body, marker=0xE1):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


SIX, THREE, UPRIGHT = (b"Exif\0\0" + exif(n) for n in (6, 3, 1))
NO_TAG = b"Exif\0\0" + entry(3, 1, b"\1\0", tag=0x010F)
XMP = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation=\"6\"/>"
READ_ALIKE = {  # see mmtk/imaging/READINGS.md
    "LONG, II": (entry(4, 1, b"\6"), 6), "SSHORT": (entry(8, 1, b"\6"), 6), "SLONG, II": (entry(9, 1, b"\6"), 6),
    "SBYTE": (entry(6, 1, b"\6"), 6), "ASCII": (entry(2, 2, b"6"), 1), "BYTE of 1": (entry(1, 1, b"\1"), 1),
    "two values": (entry(3, 2, b"\6\0\3\0"), 6), "0": (exif(0), 1), "9": (exif(9), 1),
    "LONG of 1, MM": (entry(4, 1, b"\0\0\0\1", order=">"), 1), "other magic": (b"II+\0" + exif(6)[4:], 1),
    "directory at an odd place": (exif(6)[:4] + struct.pack("<I", 9) + b"\0" + exif(6)[8:], 6),
    "in the thumbnail's directory": (exif(1)[:-4] + struct.pack("<I", 26) + exif(6)[8:], 1),
    "cut off behind the value": (exif(6)[:-4], 6),
}
READ_DIFFERENTLY = {
    "LONG, MM": entry(4, 1, b"\0\0\0\6", order=">"), "BYTE": entry(1, 1, b"\6"), "UNDEFINED": entry(7, 1, b"\6"),
    "no type": entry(0, 1, b"\6"), "unknown type": entry(99, 1, b"\6"), "no value": entry(3, 0, b"\6"),
    "values elsewhere": entry(3, 3, b"\x1a") + b"\6\0" * 3, "LONG of 65542": entry(4, 1, struct.pack("<I", 65542)),
    "cut off in the value": exif(6)[:-6], "Exif twice": SIX,
}


def other_readers(data, plain):
    """The orientations that OpenCV and Pillow apply."""
    def told(image):
        fits = [n for n, turn in TURNED.items() if turn(plain).shape == image.shape and (turn(plain) == image).all()]
        return fits[0]

    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return told(opencv), told(np.asarray(turned.convert("RGB")))


@pytest.mark.parametrize("name", READ_ALIKE)
def test_an_orientation_that_all_read_alike_is_read(file, name):
    exif_block, orientation = READ_ALIKE[name]
    meant = TURNED[orientation](RGB)
    path = file(png(RGB, 2, before=chunk(b"eXIf", exif_block)))
    assert probe(path)[1:3] == meant.shape[:2]
    np.testing.assert_array_equal(read_image(path, colour=True), meant)
    if name != "other magic":  # at which Pillow stops
        assert other_readers(path.read_bytes(), RGB) == (orientation, orientation)


@pytest.mark.parametrize("name", READ_DIFFERENTLY)
def test_an_orientation_that_is_read_differently_is_refused(file, name):
    exif_block = READ_DIFFERENTLY[name]
    inside = chunk(b"eXIf", exif_block)
    first, second = other_readers(png(RGB, 2, before=inside), RGB)
    assert first != second
    for data in (png(RGB, 2, before=inside), png(RGB, 2, after=inside), with_exif(jpeg(RGB), exif_block)):
        assert "ambiguous EXIF orientation" in refused(file(data))


@pytest.mark.parametrize(
    ("blocks", "orientation"),
    [
        ([block(XMP), block(SIX)], 6), ([block(SIX), block(XMP)], 6), ([block(b"Photoshop", 0xED), block(SIX)], 6),
        ([block(b"ab"), block(SIX)], 6), ([block(SIX, 0xE2)], 1), ([block(b"EXIF" + SIX[4:])], 1),
        ([block(SIX), block(SIX)], 6), ([block(b"Exif\0\0"), block(SIX)], 6), ([block(XMP)], 1),
        ([block(UPRIGHT), block(SIX)], None), ([block(SIX), block(UPRIGHT)], None), ([block(THREE), block(SIX)], None),
        ([block(NO_TAG), block(SIX)], None),
    ],
)
def test_several_segments_of_a_jpeg(file, blocks, orientation):
    plain = jpeg(RGB)
    path = file(plain[:2] + b"".join(blocks) + plain[2:])
    if orientation is None:
        assert "ambiguous EXIF orientation" in refused(path)
    else:
        upright = read_image(file(plain, "plain.jpg"), colour=True)
        np.testing.assert_array_equal(read_image(path, colour=True), TURNED[orientation](upright))


def test_an_exif_block_behind_the_frame_of_a_jpeg_counts(file):
    plain = jpeg(RGB)
    scan = plain.index(b"\xff\xda")
    assert probe(file(plain[:scan] + block(SIX) + plain[scan:]))[1:3] == (37, 24)


def test_two_orientations_of_a_png_are_refused_where_they_differ(file):
    three, six = chunk(b"eXIf", exif(3)), chunk(b"eXIf", exif(6))
    assert "ambiguous EXIF orientation" in refused(file(png(RGB, 2, before=three, after=six)))
    np.testing.assert_array_equal(read_image(file(png(RGB, 2, before=six, after=six)), True), TURNED[6](RGB))


def test_an_orientation_in_a_text_of_a_png_is_none(file):
    """As OpenCV has it; Pillow's exif_transpose would turn the image."""
    profile = b"Raw profile type exif\0\nexif\n%8d\n" % len(SIX) + SIX.hex().encode() + b"\n"
    np.testing.assert_array_equal(read_image(file(png(RGB, 2, before=chunk(b"tEXt", profile))), True), RGB)


# --------------------------------------------------------------------------- other formats, the system, bombs

OTHER = ", not a PNG, JPEG or TIFF image; "
CONVERT, FETCH = f"{OTHER}convert it to an 8-bit grey or RGB image", f"{OTHER}download the file again"
OTHERS = {
    b"GIF89a" + bytes(20): "a GIF image" + CONVERT, b"RIFF\0\0\0\0WEBPVP8 ": "a WebP image" + CONVERT,
    b"II+\0\x08\0\0\0" + bytes(8): "a BigTIFF" + CONVERT, b"MM\0+\0\x08\0\0" + bytes(8): "a BigTIFF" + CONVERT,
    bytes(128) + b"DICM" + bytes(9): "a DICOM file" + CONVERT, b"\0\0\0\x0cjP  \r\n": "a JPEG 2000 image" + CONVERT,
    b"\0\0\0\x18ftypheic": "a HEIF image" + CONVERT, b"\0\0\0\x18ftypavif": "an AVIF image" + CONVERT,
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": f"a Git LFS pointer{OTHER}get the file "
    "itself with `git lfs pull`",
    b"/annex/objects/MD5E-s5--0.png\n": f"a git-annex pointer{OTHER}get the file itself with `git annex get`",
    b"\n<!DOCTYPE html><html>": f"a web page{OTHER}download the file again, logged in",
    b"PK\3\4" + bytes(20): f"a zip archive{OTHER}unpack it",
    b"\x1f\x8b\x08" + bytes(20): f"a gzip file{OTHER}unpack it",
    b"no picture": "an unrecognised file (first bytes 6e 6f 20 70 69 63 74 75)" + FETCH, b"": "an empty file" + FETCH,
}


@pytest.mark.parametrize("data", OTHERS, ids=lambda data: OTHERS[data].partition(",")[0])
def test_what_is_no_such_image_is_named_with_what_can_be_done(file, data):
    assert f": is {OTHERS[data]}" in refused(file(data))


@pytest.mark.parametrize("code", ["EACCES", "EIO", "EMFILE", "ENOMEM", "ESTALE"])
def test_an_error_of_the_system_is_told_as_it_is(file, monkeypatch, code):
    path = file(png(GREY, 0))
    number = getattr(errno, code)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", fail)
    for read in (probe, lambda path: read_image(path, False)):
        with pytest.raises(SourceError) as caught:
            read(path)
        remedy = f"; {system_remedy(number)}" if system_remedy(number) else ""
        assert str(caught.value) == f"{path}: cannot be read: {os.strerror(number).lower()}{remedy}"
        # what would meet every file is no reason to leave out this one
        assert isinstance(caught.value, ImageError) == (code == "EACCES")


def test_too_little_memory_for_the_pixels_is_no_fault_of_the_image(file, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    path = file(png(GREY, 0))
    monkeypatch.setattr("mmtk.imaging._reader.decode_png", fail)
    with pytest.raises(SourceError, match=r"not enough memory$") as caught:
        read_image(path, False)
    assert not isinstance(caught.value, ImageError)


def test_a_path_that_is_no_utf8_is_told(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        probe(path)
    assert "\\udcff.png: is an empty file" in str(caught.value).encode().decode()


def tag_bomb():
    """A TIFF of 4,000 tags, all with the same 64,000 values."""
    tags = b"".join(struct.pack("<HHII", 40_000 + n, 4, 64_000, 8) for n in range(4000))
    return b"II*\0" + struct.pack("<I", 256_008) + bytes(256_000) + struct.pack("<H", 4000) + tags + bytes(4)


def scan_bomb():
    data = pillow(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 2000 + data[-2:]


BOMBS = {
    "chunk": (lambda: png(GREY, 0, before=chunk(b"tEXt", bytes(400 << 20))), "is too large; found"),
    "chunks": (lambda: png(GREY, 0, before=chunk(b"tEXt") * 1_000_000), "more than 131072 PNG chunks"),
    "pixels": (lambda: png(GREY, 0, pixels=zlib.compress(bytes(500 << 20))), "do not decompress to the size"),
    "tags": (tag_bomb, "a TIFF of an unsupported kind"),
    "scans": (scan_bomb, "more than 64 JPEG scans"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("colour", [False, True])
def test_a_small_image_takes_little_memory_whatever_its_file_holds(file, name, colour):
    make, told = BOMBS[name]
    peak, line = peak_of(f"read_image(path, {colour})", file(make()))
    assert told in line
    assert peak < 256


def test_a_held_block_of_memory_counts(file):
    """What the tests of bombs measure: else they could not fail."""
    # some more than is asked for, as pages of libraries may be dropped meanwhile
    peak, line = peak_of("held = bytes(range(256)) * (320 << 12)", file(b""))
    assert (peak >= 300, line) == (True, "read")


# ------------------------------------------------------------------------------------- files, cost, real


def test_what_is_no_file_is_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "missing.png")
    assert "is a directory" in refused(tmp_path)


def test_a_file_of_absurd_size_is_refused(file):
    path = file(png(GREY, 0))
    with path.open("r+b") as stream:
        stream.truncate((1 << 30) + 1)
    assert "found 1073741825 bytes" in refused(path)


@pytest.mark.parametrize("data", [png(GREY, 0), jpeg(RGB)], ids=["png", "jpeg"])
def test_probe_reads_no_more_than_the_header(file, data):
    path = file(data)
    expected = probe(path)
    with path.open("r+b") as stream:
        stream.truncate(300_000_000)
    tracemalloc.start()
    assert probe(path) == expected
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_real_jpegs_decode_as_opencv_does(real_data):
    paths = sorted((real_data / "sources").rglob("*.jp*g"))
    assert len(paths) >= 100
    for path in paths[::4]:
        raw = np.fromfile(path, np.uint8)
        np.testing.assert_array_equal(read_image(path, False), cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE), str(path))
        np.testing.assert_array_equal(read_image(path, True), cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1], str(path))


# -------------------------------------------------------------------------------------------- round trip


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(1, 100), st.integers(0, 99))
def test_round_trip_is_pillows(height, width, colour, quality, seed):
    shape = (height, width, 3) if colour else (height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    again = np.asarray(Image.open(io.BytesIO(pillow(Image.fromarray(image), "JPEG", quality=quality))))
    np.testing.assert_array_equal(round_trip(image, quality=quality), again)


def test_round_trip_takes_any_layout_and_defaults_to_75():
    image = picture((28, 56, 3), "soft")
    np.testing.assert_array_equal(round_trip(image[:, ::2]), round_trip(image[:, ::2].copy(), "jpeg", 75))
    grey = image[::2, :, 0]
    np.testing.assert_array_equal(round_trip(grey), round_trip(grey.copy()))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((GREY, "png"), "found png, quality 75, expected jpeg"),
        ((GREY, "jpeg", 0), "quality 0"),
        ((GREY, "jpeg", 101), "quality 101"),
        ((GREY, "jpeg", 75.5), "quality 75.5"),
        ((GREY.astype(float),), "image: .*expected uint8"),
        ((RGBA,), r"shape \(24, 37, 4\)"),
        ((GREY[:0],), "image: .*expected uint8"),
        ((GREY[0],), "image: .*expected uint8"),
        ((np.zeros((1, 70_000), np.uint8),), "image: .*expected"),
    ],
)
def test_round_trip_refuses(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        round_trip(*arguments)
