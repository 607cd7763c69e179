"""Grey PNG, JPEG and TIFF of 8 and 16 bits as values: against independent decoders, and against damage."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtk.errors import ImageError
from mmtk.imaging import Header, probe, probe_values, read_image, read_values
from tests import pictures
from tests.pictures import END, chunk, guess

KINDS = {1: 0, 2: 4}


def deep(shape=(20, 24, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 1 << 16, shape).astype(np.uint16)


def filtered(pixels, filters) -> bytes:
    """Rows of 16-bit pixels (h, w, c) as an encoder writes them: filters go by bytes."""
    height, step = pixels.shape[0], 2 * pixels.shape[2]
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    out = bytearray()
    for y, row in enumerate(rows):
        out.append(filters[y])
        up = rows[y - 1] if y else np.zeros_like(row)
        for x, value in enumerate(row):
            left, corner = (row[x - step], up[x - step]) if x >= step else (0, 0)
            out.append(int(value - guess(filters[y], int(left), int(up[x]), int(corner))) % 256)
    return bytes(out)


def png16(pixels, filters=None, rows=None, more=b"", after=b"") -> bytes:
    height, width, channels = pixels.shape
    packed = zlib.compress(filtered(pixels, filters or [0] * height) if rows is None else rows)
    parts = (more, chunk(b"IDAT", packed), after, END)
    return pictures.png(width, height, KINDS[channels], *parts, depth=16)


@settings(max_examples=60)
@given(st.integers(16, 24), st.integers(16, 24), st.sampled_from([1, 2]), st.integers(0, 9), st.data())
def test_every_filter_of_a_16_bit_png(tmp_path: Path, height, width, channels, seed, data) -> None:
    pixels = deep((height, width, channels), seed)
    path = tmp_path / "a.png"
    path.write_bytes(png16(pixels, data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))))
    assert probe_values(path) == Header("png16", height, width, channels)
    found = read_values(path).pixels
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pixels[:, :, 0])


def test_an_interlaced_png_and_one_with_a_gamma_or_a_colour_that_is_clear(tmp_path: Path) -> None:
    pixels = deep()
    path = tmp_path / "a.png"
    for more in (chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"tRNS", struct.pack(">H", int(pixels[3, 3, 0]))),
                 chunk(b"sBIT", b"\x0c")):
        path.write_bytes(png16(pixels, more=more))
        np.testing.assert_array_equal(read_values(path).pixels, pixels[:, :, 0])
    rows = b""
    for top, left, down, right in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
                                   (1, 0, 2, 1)):
        part = pixels[top::down, left::right]
        rows += filtered(part, [0] * part.shape[0])
    path.write_bytes(pictures.png(24, 20, 0, chunk(b"IDAT", zlib.compress(rows)), END, depth=16, interlace=1))
    np.testing.assert_array_equal(read_values(path).pixels, pixels[:, :, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("behind", [False, True])
def test_orientations_turn_a_16_bit_png_as_they_turn_others(tmp_path: Path, orientation: int, behind: bool) -> None:
    pixels = deep()
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    path = tmp_path / "a.png"
    path.write_bytes(png16(pixels, more=b"" if behind else block, after=block if behind else b""))
    found = read_values(path).pixels
    high = pictures.png(24, 20, 0, block, chunk(b"IDAT", zlib.compress(b"".join(
        b"\0" + row.tobytes() for row in (pixels[:, :, 0] >> 8).astype(np.uint8)))), END)
    (tmp_path / "b.png").write_bytes(high)
    np.testing.assert_array_equal(found // 256, read_image(tmp_path / "b.png", False))
    assert probe_values(path)[1:3] == found.shape


def test_no_damaged_png_passes(tmp_path: Path) -> None:
    pixels = deep((16, 17, 1))
    whole = png16(pixels, [4] * 16)
    path = tmp_path / "a.png"
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            path.write_bytes(content)
            with pytest.raises(ImageError) as caught:
                read_values(path)
            assert "\n" not in str(caught.value)
    rows = filtered(pixels, [0] * 16)
    for wrong, found in ((rows[:-1], "559 bytes, not 560"), (rows + b"\0", "do not decompress"),
                         (rows[:35] + b"\7" + rows[36:], "row 1 has an unknown filter")):
        path.write_bytes(png16(pixels, rows=wrong))
        with pytest.raises(ImageError, match=found):
            read_values(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packing", [1, 32773])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_16_bit_tiffs(tmp_path: Path, order: str, packing: int, rows: int) -> None:
    pixels = deep()[:, :, 0]
    path = tmp_path / "a.tif"
    content = tiff16(pixels, order, rows, packing=packing)
    path.write_bytes(content)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    assert probe_values(path) == Header("tiff16", 20, 24, 1)
    np.testing.assert_array_equal(read_values(path).pixels, pixels)
    for at in range(0, pixels.nbytes, 3):  # pixels and directory end further on
        path.write_bytes(content[:at])
        with pytest.raises(ImageError):
            read_values(path)


def tiff16(pixels, order: str, rows: int, photometric: int = 1, **more: int) -> bytes:
    """A TIFF in strips, if PackBits then of literals alone."""
    packing = more.get("packing", 32773)
    strips = []
    for top in range(0, pixels.shape[0], rows):
        raw = pixels[top : top + rows].astype(order + "u2").tobytes()
        parts = (raw[at : at + 128] for at in range(0, len(raw), 128))
        strips.append(raw if packing == 1 else b"".join(bytes([len(part) - 1]) + part for part in parts))
    body = b"".join(strips)
    lengths = list(map(len, strips))
    offsets = [8 + sum(lengths[:place]) for place in range(len(strips))]
    tables = struct.pack(order + f"{2 * len(strips)}I", *offsets, *lengths)
    at = 8 + len(body)
    one = len(strips) == 1
    tags = [(256, 3, pixels.shape[1]), (257, 3, pixels.shape[0]), (258, 3, more.get("bits", 16)), (259, 3, packing),
            (262, 3, photometric), (273, 4, offsets[0] if one else at), (278, 3, min(rows, 65535)),
            (279, 4, lengths[0] if one else at + 4 * len(strips)), (339, 3, more.get("format", 1))]
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, len(strips) if tag in (273, 279) else 1)
        + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))
        for tag, kind, value in tags
    )
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at + len(tables))
    return start + body + tables + struct.pack(order + "H", len(tags)) + entries + struct.pack("I", more.get("next", 0))


def test_tiffs_whose_white_is_zero_and_odd_ones(tmp_path: Path) -> None:
    pixels = deep()[:, :, 0]
    path = tmp_path / "a.tif"
    path.write_bytes(tiff16(pixels, "<", 64, photometric=0))
    np.testing.assert_array_equal(read_values(path).pixels, 65535 - pixels)
    path.write_bytes(tiff16(pixels, "<", 64, format=2))
    with pytest.raises(ImageError, match=r"found signed samples, .*; convert it to an 8-bit or 16-bit grey PNG"):
        probe_values(path)
    for how, found in (({"packing": 8}, "compression 8 (deflate)"), ({"bits": 32}, "32 bits"), ({"next": 8}, "sev")):
        path.write_bytes(tiff16(pixels, "<", 64, **how))
        with pytest.raises(ImageError) as caught:
            read_values(path)
        assert f"found {found}" in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_8_bit_images_are_those_of_read_image(tmp_path: Path, kind: str) -> None:
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8), (0, 0), 2)
    path = tmp_path / "a"
    Image.fromarray(pixels).save(path, kind)
    values = read_values(path)
    assert values.pixels.dtype == np.int16
    assert probe_values(path) == probe(path) == Header(kind, 30, 40, 1)
    np.testing.assert_array_equal(values.pixels, read_image(path, False))
    with pytest.raises(ImageError) as caught:
        values.grey_by_voi()
    assert str(caught.value) == f"{path}: has no window of its own: it is not a DICOM file; give a level and a width"
    Image.fromarray(np.stack([pixels] * 3, axis=2)).save(path, kind)
    line = f"is a colour {kind.upper()}, not greyscale; build it as a colour image"
    for function in (read_values, probe_values):
        with pytest.raises(ImageError, match=line):
            function(path)


def test_other_images_are_refused_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png16(deep()))
    with pytest.raises(ImageError, match="found 16-bit grey"):
        probe(path)
    Image.fromarray(deep()[:, :, 0].astype(np.uint8)).convert("P").save(path)
    with pytest.raises(ImageError, match="palette"):
        read_values(path)
    path.write_bytes(pictures.png(24, 20, 2, chunk(b"IDAT", b""), END, depth=16))
    with pytest.raises(ImageError, match="found 16-bit RGB"):
        probe_values(path)
    path.write_bytes(png16(deep((15, 20, 1))))
    with pytest.raises(ImageError, match="20 x 15 pixels"):
        probe_values(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="an empty file"):
        read_values(path)


def test_a_16_bit_png_in_an_archive(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", png16(deep()))

    class Member:
        def open(self, mode):
            return zipfile.Path(io.BytesIO(stream.getvalue()), "a.png").open("rb")

        def __fspath__(self):
            return "x.zip/a.png"

    assert probe_values(Member()).format == "png16"
    np.testing.assert_array_equal(read_values(Member()).pixels, deep()[:, :, 0])
