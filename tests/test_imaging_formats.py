"""Volumes as NRRD and MetaImage: whole files against SimpleITK's reading, damaged ones refused."""

from __future__ import annotations

import gzip
import itertools
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.datasets.listing import open_listing
from mmtk.errors import ImageError, SourceError
from mmtk.imaging import probe_volume, read_mask, read_volume, turn_volume
from tests.damage import refused_flips

sitk = pytest.importorskip("SimpleITK")

ORDERS = ["".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in
          itertools.product(*order)]
FILES = ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"]
ORIGIN = (-160.5, 12.25, 1003.75)  # as SimpleITK has it, to the left and the back
TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def noise(shape=(4, 5, 6), seed=0, low=-100, high=120) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape)


def image_of(voxels: np.ndarray, axes="LPS", spacing=(0.5, 0.75, 2.5)):
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    direction = np.zeros((3, 3))
    for at, letter in enumerate(axes):
        direction["RLAPIS".index(letter) // 2, at] = 1 if letter in "LPS" else -1
    image.SetDirection(direction.ravel())
    image.SetOrigin(ORIGIN)
    return image


def to_ras(point) -> tuple[float, ...]:
    return -point[0], -point[1], point[2]


def turned(image) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")).transpose(2, 1, 0)


def written(folder: Path, name: str, image, packed=False) -> tuple[Path, Path]:
    """The file of the header and that of the voxels, which may be the same."""
    for path in folder.iterdir():
        path.unlink()
    sitk.WriteImage(image, str(folder / name), packed)
    (data,) = [path for path in folder.iterdir() if path.name != name] or [folder / name]
    return folder / name, data


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_every_type_reads_as_simpleitk_reads_it(tmp_path: Path, name: str, packed: bool) -> None:
    for kind in TYPES:
        path, _ = written(tmp_path, name, image_of(np.abs(noise()).astype(kind)), packed)
        volume, header = read_volume(path), probe_volume(path)
        assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        assert (volume.axes, header.axes, header.dtype) == ("LPS", "LPS", np.dtype("<" + kind))
        assert volume.voxels.dtype == read_mask(path).voxels.dtype == np.int16
        assert volume.spacing == header.spacing == (0.5, 0.75, 2.5)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("axes", ORDERS)
def test_every_order_of_axes_turns_as_simpleitk_turns_it(tmp_path: Path, name: str, axes: str) -> None:
    image = image_of(noise().astype(np.int16), axes)
    path, _ = written(tmp_path, name, image)
    volume, header = read_volume(path), probe_volume(path)
    assert volume.axes == header.axes == axes
    assert np.array_equal(turn_volume(volume), turned(image))
    assert volume.turned_spacing == pytest.approx(sitk.DICOMOrient(image, "LPS").GetSpacing())
    assert header.turned_shape == turned(image).shape
    assert volume.origin == header.origin == to_ras(sitk.ReadImage(str(path)).GetOrigin())
    assert volume.turned_origin == header.turned_origin == to_ras(sitk.DICOMOrient(image, "LPS").GetOrigin())
    steps = [np.subtract(image.TransformIndexToPhysicalPoint(at), ORIGIN) for at in np.eye(3, dtype=int).tolist()]
    np.testing.assert_allclose(volume.steps, steps * np.array([-1, -1, 1]))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.floats(0.0625, 20)] * 3), st.sampled_from(ORDERS),
    st.sampled_from(FILES), st.booleans(), st.sampled_from(["i2", "f4", "u1"]), st.integers(0, 99),
)
def test_any_volume(tmp_path_factory, shape, spacing, axes, name, packed, kind, seed) -> None:
    voxels = np.abs(noise(shape, seed)).astype(kind) / (np.float32(8) if kind == "f4" else 1)
    image = image_of(voxels.astype(kind), axes, spacing)
    path, _ = written(tmp_path_factory.mktemp("any"), name, image, packed)
    volume = read_volume(path, exact=True)
    assert np.array_equal(turn_volume(volume), turned(image))
    assert volume.axes == axes
    assert volume.spacing == pytest.approx(spacing, rel=1e-5)


# ------------------------------------------------------------------- headers

NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 5 4
space directions: (0.5,0,0) (0,0.75,0) (0,0,2.5)
endian: little
encoding: raw

"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
ElementSpacing = 0.5 0.75 2.5
DimSize = 6 5 4
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
VOXELS = noise().astype("<i2")


def changed(header: str, *changes: tuple[str, str]) -> bytes:
    for old, new in changes:
        assert old in header
        header = header.replace(old, new)
    return header.encode() + VOXELS.tobytes()


@pytest.mark.parametrize(
    ("content", "axes", "spacing"),
    [
        (changed(NRRD), "LPS", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("left-posterior", "Right-Anterior")), "RAS", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("left-posterior-superior", "LAS")), "LAS", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("space: left-posterior-superior", "space: scanner-xyz")), "", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("space: left-posterior-superior", "space dimension: 3")), "", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("endian", 'space units: "cm" "cm" "cm"\nendian')), "LPS", (5, 7.5, 25)),
        (changed(NRRD, ("endian", 'space units: "mm" "mm" "mm"\nendian')), "LPS", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("endian", 'space units: "mm" "mm" "foot"\nendian')), "LPS", (0, 0, 0)),
        (changed(NRRD, ("(0,0.75,0)", "( 0, -0.75, 0 )")), "LAS", (0.5, 0.75, 2.5)),
        (changed(NRRD, ("(0,0.75,0)", "(0,nan,0)")), "", (0, 0, 0)),
        (changed(NRRD, ("(0.5,0,0) (0,0.75,0)", "(0,0,0.5) (0,0.75,0)"), ("(0,0,2.5)", "(2.5,0,0)")), "SPL",
         (0.5, 0.75, 2.5)),
        (changed(NRRD, ("space: left-posterior-superior\n", ""), ("space directions: (0.5,0,0) (0,0.75,0) (0,0,2.5)",
                 'spacings: 0.5 0.75 2.5\nunits: "mm" "mm" "cm"')), "", (0.5, 0.75, 25)),
        (changed(NRRD, ("dimension: 3", "dimension: 4"), ("6 5 4", "1 6 5 4"), ("(0.5,", "none (0.5,")), "LPS",
         (0.5, 0.75, 2.5)),
        (changed(NRRD, ("type", "# a: comment\nkey:=value: more\nType"), ("\n", "\r\n")), "LPS", (0.5, 0.75, 2.5)),
        (changed(META), "LPS", (0.5, 0.75, 2.5)),
        (changed(META, ("1 0 0 0 1 0 0 0 1", "0 0 1 0 -1 0 1 0 0")), "SAL", (0.5, 0.75, 2.5)),
        (changed(META, ("TransformMatrix", "Orientation")), "LPS", (0.5, 0.75, 2.5)),
        (changed(META, ("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "")), "", (0.5, 0.75, 2.5)),
        (changed(META, ("ElementSpacing = 0.5 0.75 2.5\n", "")), "LPS", (0, 0, 0)),
        (changed(META, ("0.75", "-1")), "LPS", (0, 0, 0)),
        (changed(META, ("NDims = 3", "NDims=4"), ("6 5 4", "6 5 4 1"), ("0.5 0.75 2.5", "0.5 0.75 2.5 1"),
                 ("1 0 0 0 1 0 0 0 1", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")), "LPS", (0.5, 0.75, 2.5)),
        (changed(META, ("ObjectType = Image\n", "")), "LPS", (0.5, 0.75, 2.5)),
    ],
)
def test_what_a_header_says(tmp_path: Path, content: bytes, axes: str, spacing: tuple[float, ...]) -> None:
    (tmp_path / "a").write_bytes(content)
    volume = read_volume(tmp_path / "a")
    assert (volume.axes, volume.spacing) == (axes, pytest.approx(spacing))
    assert np.array_equal(volume.voxels, VOXELS)


NRRD_AT = changed(NRRD, ("encoding", "space origin: (-1.5,20,300)\nencoding"))
META_AT = changed(META, ("ElementSpacing", "Offset = -1.5 20 300\nElementSpacing"))


def at(content: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    return content


@pytest.mark.parametrize(
    ("content", "origin", "turned_origin"),
    [
        (NRRD_AT, (1.5, -20, 300), (1.5, -20, 300)),
        (at(NRRD_AT, (b"left-posterior-superior", b"RAS")), (-1.5, 20, 300), (1, 23, 300)),
        (at(NRRD_AT, (b"left-posterior-superior", b"LAS")), (1.5, 20, 300), (1.5, 23, 300)),
        (at(NRRD_AT, (b"left-posterior-superior", b"scanner-xyz")), None, ""),
        (at(NRRD_AT, (b"endian", b'space units: "cm" "cm" "cm"\nendian')), (15, -200, 3000), (15, -200, 3000)),
        (at(NRRD_AT, (b"endian", b'space units: "cm" "mm" "mm"\nendian')), None, None),
        (at(NRRD_AT, (b"(-1.5,20,300)", b"( -1.5, 20, nan )")), None, None),
        (changed(NRRD), None, None),
        (META_AT, (1.5, -20, 300), (1.5, -20, 300)),
        (at(META_AT, (b"Offset", b"Position")), (1.5, -20, 300), (1.5, -20, 300)),
        (at(META_AT, (b"Offset", b"Origin")), (1.5, -20, 300), (1.5, -20, 300)),
        (at(META_AT, (b"= 1 0 0 0 1 0 0 0 1", b"= 0 0 -1 0 1 0 1 0 0")), (1.5, -20, 300), (1.5, -20, 297.5)),
        (at(META_AT, (b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"")), (1.5, -20, 300), ""),
        (at(META_AT, (b"ElementSpacing = 0.5 0.75 2.5\n", b"")), (1.5, -20, 300), None),
        (at(META_AT, (b"NDims = 3", b"NDims = 4"), (b"6 5 4", b"6 5 4 1"), (b"0.5 0.75 2.5", b"0.5 0.75 2.5 1"),
            (b"20 300", b"20 300 0"), (b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")), (1.5, -20, 300),
         (1.5, -20, 300)),
        (changed(META), None, None),
    ],
)
def test_where_a_header_says_that_it_lies(tmp_path: Path, content: bytes, origin, turned_origin) -> None:
    (tmp_path / "a").write_bytes(content)
    header = probe_volume(tmp_path / "a")
    assert header.origin == (pytest.approx(origin) if origin else None)
    if turned_origin == "":  # which way the axes run is not said
        assert (header.axes, header.steps) == ("", None)
    else:
        assert header.turned_origin == (pytest.approx(turned_origin) if turned_origin else None)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (at(NRRD_AT, (b"(-1.5,20,300)", b"(-1.5,20)")), "found space origin .* three numbers"),
        (at(NRRD_AT, (b"(-1.5,20,300)", b"-1.5,20,300")), "found space origin .* three numbers"),
        (at(NRRD_AT, (b"(-1.5,20,300)", b"(-1.5,x,300)")), "space origin .*, expected numbers"),
        (at(META_AT, (b"-1.5 20 300", b"-1.5 20")), "found Offset -1.5 20, expected 3 numbers"),
        (at(META_AT, (b"-1.5 20 300", b"-1.5 x 300")), "found Offset -1.5 x 300, expected numbers"),
        (at(META_AT, (b"Offset", b"Origin = 1 2 3\nOffset")), "the field Offset twice"),
        (changed(NRRD, ("NRRD0004", "NRRD0009")), "found version NRRD0009"),
        (changed(NRRD, ("type: short\n", "")), "without the field type"),
        (changed(NRRD, ("short", "block")), "found type block, expected an integer or floating-point type"),
        (changed(NRRD, ("raw", "bzip2")), "found encoding bzip2, expected raw, gzip, gz; save it"),
        (changed(NRRD, ("endian: little\n", "")), "without the field endian"),
        (changed(NRRD, ("6 5 4", "6 5 4.5")), "found sizes 6 5 4.5, expected integers"),
        (changed(NRRD, ("6 5 4", "6 5 -4")), "found size 6 x 5 x -4, expected a volume with three axes"),
        (changed(NRRD, ("6 5 4", "60000 50000 40000")), "found size 60000 x 50000 x 40000"),
        (changed(NRRD, ("6 5 4", "6 20"), ("dimension: 3", "dimension: 2"), (" (0,0,2.5)", "")),
         "found size 6 x 2"),
        (changed(NRRD, ("dimension: 3", "dimension: 4")), "found sizes 6 5 4, expected 4 sizes"),
        (changed(NRRD, ("dimension: 3", "dimension: 4"), ("6 5 4", "3 6 5 4"), ("(0.5,", "none (0.5,")),
         "found size 3 x 6 x 5 x 4"),
        (changed(NRRD, ("(0,0.75,0)", "(0,0.75)")), "space directions .* vectors of three numbers"),
        (changed(NRRD, ("(0,0.75,0)", "0,0.75,0")), "space directions .* expected vectors"),
        (changed(NRRD, ("(0,0.75,0)", "(0,x,0)")), "space directions .* expected numbers"),
        (changed(NRRD, ("(0,0.75,0)", "(0,1_0,0)")), "space directions .* expected numbers"),
        (changed(NRRD, ("endian", "type: float\nendian")), "the field type twice"),
        (changed(NRRD, ("endian", "a line of no kind\nendian")), "malformed header line 'a line of no kind'"),
        (changed(NRRD, ("endian", "line skip: 1\nendian")), "other data before its voxels .line skip 1"),
        (changed(NRRD, ("endian", "byte skip: -1\nendian")), "other data before its voxels .byte skip -1"),
        (changed(NRRD, ("endian", "data file: LIST\nendian")), "several files .data file: LIST"),
        (changed(NRRD, ("endian", "data file: a%03d.raw 1 4 1\nendian")), "several files .data file: a%03d.raw"),
        (b"NRRD0004\ntype: short\n", "NRRD file: its header is cut off"),
        (b"NRRD" + bytes(1 << 20), r"has no end|found version NRRD\?\?"),
        (b"NRRD0004\n" + b"# more\n" * 5000, "its header has no end"),
        (changed(META, ("= Image", "= Tube")), "found ObjectType Tube, expected Image"),
        (changed(META, ("BinaryData = True", "BinaryData = False")), "found BinaryData False, expected True; save it"),
        (changed(META, ("MET_SHORT", "MET_OTHER")), "found ElementType MET_OTHER"),
        (changed(META, ("MSB = False", "MSB = maybe")), "MSB maybe, expected true, false"),
        (changed(META, ("NDims = 3", "NDims = 2")), "found DimSize 6 5 4, expected 2 sizes"),
        (changed(META, ("DimSize = 6 5 4\n", "")), "without the field DimSize"),
        (changed(META, ("6 5 4", "6 5 4 3"), ("NDims = 3", "NDims = 4")), "found size 6 x 5 x 4 x 3"),
        (changed(META, ("6 5 4", "6 5 0")), "found size 6 x 5 x 0"),
        (changed(META, ("1 0 0 0 1 0 0 0 1", "1 0 0 1")), "found TransformMatrix 1 0 0 1, expected 9 numbers"),
        (changed(META, ("0.75", "wide")), "found ElementSpacing 0.5 wide 2.5, expected numbers"),
        (changed(META, ("ElementType", "ElementNumberOfChannels = 3\nElementType")), "Channels 3, expected 1"),
        (changed(META, ("ElementType", "ElementToIntensityFunctionSlope = 2\nElementType")), "Slope 2, expected 1"),
        (changed(META, ("ElementType", "HeaderSize = 7\nElementType")), "before its voxels .HeaderSize = 7"),
        (changed(META, ("LOCAL", "LIST")), "several files .ElementDataFile = LIST"),
        (changed(META, ("LOCAL", "a%03d.raw 1 4 1")), "several files .ElementDataFile = a%03d"),
        (changed(META, ("NDims = 3", "no field")), "malformed header line 'no field"),
        (META.encode()[:-30], "cut off before ElementDataFile"),
        (changed(NRRD)[:-1], "damaged volume: it has 396 bytes, not 397"),
        (changed(NRRD) + b"x", "is a damaged volume: "),
        (changed(META)[:-1], "is a damaged volume: "),
        (changed(META) + b"x", "is a damaged volume: "),
    ],
)
def test_headers_that_cannot_be_trusted_are_refused(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a").write_bytes(content)
    for ask in (probe_volume, read_volume):
        with pytest.raises(ImageError, match=found) as caught:
            ask(tmp_path / "a")
        assert str(caught.value).isprintable()


# ------------------------------------------------------------------- voxels beside the header

@pytest.mark.parametrize(("header", "data"), [(NRRD, ("\n\n", "\ndata file: {}\n")), (META, ("LOCAL", "{}"))])
def test_voxels_lie_beside_their_header_and_nowhere_else(tmp_path: Path, header: str, data: tuple[str, str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "a.raw", folder / "a.raw", folder / "ä ö.raw"):
        path.write_bytes(VOXELS.tobytes())

    def named(name: str) -> Path:
        text = header.replace(data[0], data[1].format(name))
        (folder / "a.head").write_text(text, encoding="utf-8")
        return folder / "a.head"

    for name in ("a.raw", "./a.raw", "ä ö.raw"):
        assert np.array_equal(read_volume(named(name)).voxels, VOXELS)
    for name in ("../a.raw", str(folder / "a.raw"), "..", ".", "../folder/a.raw", "..\\a.raw", "a.raw\0"):
        with pytest.raises(ImageError, match="voxels outside its own folder"):
            probe_volume(named(name))
    for name, reason in (("b.raw", "no such file"), ("x" * 300, "file name too long")):
        for ask in (probe_volume, read_volume):
            with pytest.raises(SourceError, match=reason):
                ask(named(name))
    (folder / "b.raw").mkdir()
    with pytest.raises(SourceError, match=r"b\.raw: "):
        read_volume(named("b.raw"))
    for content, size in ((VOXELS.tobytes()[:-1], 239), (VOXELS.tobytes() + b"x", 241)):
        (folder / "a.raw").write_bytes(content)
        with pytest.raises(ImageError, match=rf"a\.raw: .* {size} bytes, not 240"):
            probe_volume(named("a.raw"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(named("a.raw"), "a.head")
    with pytest.raises(ImageError, match="in an archive whose voxels are in another file"):
        probe_volume(open_listing(tmp_path / "a.zip").path("a.head"))


@pytest.mark.parametrize(
    ("header", "skip"),
    [
        (NRRD.replace("\n\n", "\ndata file: a.raw\nbyte skip: {}\n"), 7),
        (META.replace("LOCAL", "a.raw").replace("NDims", "HeaderSize = {}\nNDims"), 7),
    ],
)
def test_bytes_before_the_voxels_are_passed_over_if_the_header_says_so(tmp_path: Path, header: str, skip: int) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(skip) + VOXELS.tobytes())
    for count in (skip, -1):
        (tmp_path / "a.head").write_text(header.format(count))
        assert np.array_equal(read_volume(tmp_path / "a.head").voxels, VOXELS)
    for count in (0, 6, 8, 10**17):
        (tmp_path / "a.head").write_text(header.format(count))
        with pytest.raises(ImageError, match="247 bytes, not"):
            read_volume(tmp_path / "a.head")
    (tmp_path / "a.raw").write_bytes(bytes(239))
    (tmp_path / "a.head").write_text(header.format(-1))
    with pytest.raises(ImageError, match="239 bytes, not 240"):
        read_volume(tmp_path / "a.head")


def test_volumes_in_a_zip_and_packed_as_a_whole(tmp_path: Path) -> None:
    packed = changed(META, ("NDims", "CompressedData = True\nNDims")).replace(
        VOXELS.tobytes(), zlib.compress(VOXELS.tobytes()))
    contents = {"a.nrrd": changed(NRRD), "b.mha": changed(META), "c.mha": packed, "d.gz": gzip.compress(changed(NRRD))}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    listing = open_listing(tmp_path / "a.zip")
    for name in contents:
        assert np.array_equal(read_volume(listing.path(name)).voxels, VOXELS)
        assert probe_volume(listing.path(name)).shape == (6, 5, 4)


@pytest.mark.parametrize(("header", "old", "new"), [(NRRD, "little", "big"), (META, "MSB = False", "MSB = True")])
def test_big_endian(tmp_path: Path, header: str, old: str, new: str) -> None:
    (tmp_path / "a").write_bytes(header.replace(old, new).encode() + VOXELS.astype(">i2").tobytes())
    assert np.array_equal(read_volume(tmp_path / "a").voxels, VOXELS)
    assert np.array_equal(sitk.GetArrayFromImage(written_as(tmp_path / "a", header)), VOXELS)


def written_as(path: Path, header: str):
    named = path.with_suffix(".nrrd" if header is NRRD else ".mha")
    named.write_bytes(path.read_bytes())
    return sitk.ReadImage(str(named))


# ------------------------------------------------------------------- damage

@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_files_cut_off_anywhere_are_refused(tmp_path: Path, name: str, packed: bool) -> None:
    path, data = written(tmp_path, name, image_of(VOXELS), packed)
    for file in {path, data}:
        content = file.read_bytes()
        last = len(content.rstrip(b"\n")) if file != data else len(content)  # a text's last line may lack its end
        for length in range(last):
            file.write_bytes(content[:length])
            with pytest.raises(ImageError) as caught:
                read_volume(path)
            assert str(caught.value).isprintable()
        file.write_bytes(content)
    assert np.array_equal(read_volume(path).voxels, VOXELS)


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_byte_of_packed_voxels_gives_others(tmp_path: Path, name: str) -> None:
    path, data = written(tmp_path, name, image_of(VOXELS), packed=True)
    content = data.read_bytes()
    start = 0 if data != path else content.index(b"\n\n") + 2 if name == "a.nrrd" else content.index(b"LOCAL\n") + 6

    def expect_same(at: int) -> None:
        assert np.array_equal(read_volume(path).voxels, VOXELS), at

    refused = refused_flips(data, expect_same, start, lambda at: (1 << at % 8, 255))
    assert refused >= 2 * (len(content) - start - 11)


@pytest.mark.parametrize("name", FILES)
def test_packed_voxels_of_another_number_are_refused(tmp_path: Path, name: str) -> None:
    pack = gzip.compress if name.startswith("a.n") else zlib.compress
    path, data = written(tmp_path, name, image_of(VOXELS), packed=True)
    content = data.read_bytes()
    start = 0 if data != path else content.index(b"\n\n") + 2 if name == "a.nrrd" else content.index(b"LOCAL\n") + 6
    for voxels in (VOXELS.tobytes()[:-2], VOXELS.tobytes() + b"xx", b""):
        data.write_bytes(content[:start] + pack(voxels))
        with pytest.raises(ImageError):
            read_volume(path)
    data.write_bytes(content[:start] + pack(VOXELS.tobytes()) + b"more")
    with pytest.raises(ImageError):
        read_volume(path)
