"""Providers' archives: read in place or unpacked, and refused where they are damaged or not to be trusted."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import mmtk
from mmtk.datasets import get_dataset
from mmtk.datasets.archives import ZipArchive, unpack_tar
from mmtk.datasets.listing import find_source, open_listing
from mmtk.errors import ImageError, SourceError
from mmtk.imaging import probe, read_image
from mmtk.phantom import write_phantom
from tests.commands import peak_of


def write_zip(path: Path, names: dict[str, bytes] | list[str], pack: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", pack) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), names[name] if isinstance(names, dict) else b"x", pack)
    return path


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def busi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom("breastmnist", tmp_path_factory.mktemp("busi"), scale=0.001)


def zipped(folder: Path, out: Path, wrapper: str = "") -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{wrapper}{path.relative_to(folder)}")
    return out


@pytest.mark.parametrize("wrapper", ["", "download/"])
def test_files_in_a_zip_read_as_those_of_its_folder(busi: Path, tmp_path: Path, wrapper: str) -> None:
    (tmp_path / "in").mkdir()
    zipped(busi, tmp_path / "in" / "busi.zip", wrapper)
    listing = find_source(tmp_path / "in", get_dataset("breastmnist"))
    assert listing.root == tmp_path / "in" / "busi.zip"
    names = [name for name in listing.names if name.endswith(").png")]
    assert names
    for name in names:
        inside, outside = listing.path(name), busi / name.removeprefix(wrapper)
        assert probe(inside) == probe(outside)
        assert np.array_equal(read_image(inside, False), read_image(outside, False))
        assert str(inside) == f"{tmp_path / 'in' / 'busi.zip'}/{name}"


def test_zips_in_a_folder_are_read_beside_its_files(tmp_path: Path) -> None:
    """HAM10000 as Dataverse ships it: the table, and the images in two zips. One image was unpacked too."""
    source = write_phantom("dermamnist", tmp_path / "raw", scale=0.0001)
    (expected,) = mmtk.build("dermamnist", sources=source, out=tmp_path / "a")
    packed = tmp_path / "packed"
    shutil.copytree(source, packed)
    for part in (1, 2):
        folder = packed / f"HAM10000_images_part_{part}"
        zipped(folder, packed / f"{folder.name}.zip")
        for path in sorted(folder.iterdir())[part - 1 :]:  # of the first folder all, of the second all but one
            path.unlink()
    (found,) = mmtk.build("dermamnist", sources=packed, out=tmp_path / "b")
    assert found.path.read_bytes() == expected.path.read_bytes()
    assert [finding.kind for finding in found.findings] == ["junk"]


def test_tars_are_unpacked_once_and_only_for_a_build(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "images_001.tar.gz", {"images/00000001_000.png": b"x", "images/00000002_000.png": b"y"})
    chest = get_dataset("chestmnist")
    assert find_source(tmp_path, chest, unpack=False).packed == (path.name,)
    assert not (tmp_path / "images_001.unpacked").exists()
    listing = find_source(tmp_path, chest)
    assert listing.names[:2] == (
        "images_001.tar.gz", "images_001.unpacked/images/00000001_000.png",
    )
    before = (tmp_path / "images_001.unpacked").stat()
    assert find_source(tmp_path, chest).names == listing.names
    assert (tmp_path / "images_001.unpacked").stat().st_mtime_ns == before.st_mtime_ns
    assert [record.source for record in chest.scan(listing).records] == ["00000001_000.png", "00000002_000.png"]


HOSTILE = ["/etc/passwd", "../above.png", "a/../../above.png", "C:/windows.png", "..\\above.png"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"unsafe to unpack: it contains the path.*do not trust"):
        ZipArchive(write_zip(tmp_path / "x.zip", ["fine.png", name]))
    with pytest.raises(SourceError, match=r"unsafe to unpack: it contains the path.*do not trust"):
        unpack_tar(write_tar(tmp_path / "x.tar.gz", {"fine.png": b"x", name: b"x"}))
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip", "x.tar.gz"}
    assert not (tmp_path.parent / "above.png").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match=r"a link or device, link\.png"):
        ZipArchive(tmp_path / "x.zip")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(SourceError, match=r"a link or device, link\.png"):
            unpack_tar(write_tar(tmp_path / "x.tar.gz", {"link.png": info}))


def test_what_unpacks_to_a_hundred_times_its_size_is_refused(tmp_path: Path) -> None:
    bomb = {"zeros.png": bytes(20 << 20)}
    with pytest.raises(SourceError, match=r"more than 100 times its size: 0.* MB to 21 MB"):
        ZipArchive(write_zip(tmp_path / "x.zip", bomb, zipfile.ZIP_DEFLATED))
    with pytest.raises(SourceError, match="more than 100 times its size"):
        unpack_tar(write_tar(tmp_path / "x.tar.gz", bomb))
    assert not list(tmp_path.glob("*unpacked*"))


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar.gz", {"a.png": np.random.default_rng(0).bytes(100_000)}).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cut\.tar\.gz: is a damaged tar archive"):
        unpack_tar(tmp_path / "cut.tar.gz")
    assert not list(tmp_path.glob("*cut.unpacked*"))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(SourceError, match=r"cut\.zip: is a damaged zip archive"):
        open_listing(tmp_path / "cut.zip")
    twice = tmp_path / "twice.zip"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"y")
    with pytest.raises(SourceError, match=r"contains a\.png twice"):
        ZipArchive(twice)


def test_a_flipped_byte_in_a_zip_is_an_error_of_that_image(busi: Path, tmp_path: Path) -> None:
    picture = next(busi.rglob("*).png"))
    path = write_zip(tmp_path / "x.zip", {"a.png": picture.read_bytes()})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"x\.zip/a\.png: is .*(CRC|checksum)"):
        read_image(open_listing(path).path("a.png"), False)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_tars_of_all_kinds_unpack_as_tarfile_does(tmp_path: Path, kind: int, packing: str) -> None:
    deep = "/".join(["a folder with a name of some length"] * 4) + "/ü (1).png"  # in prefix, long name or pax header
    files = {"a.png": b"", "b/c.png": b"x" * 511, "b/d.png": b"y" * 512, deep: b"z" * 513, "./e.png": bytes(3 << 20)}
    with tarfile.open(tmp_path / "x.tar", f"w:{packing}", format=kind) as archive:  # type: ignore[call-overload]
        root = tarfile.TarInfo("./")
        root.type = tarfile.DIRTYPE
        archive.addfile(root)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    folder = unpack_tar(tmp_path / "x.tar")
    unpacked = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert unpacked == {name.removeprefix("./"): content for name, content in files.items()}


@pytest.mark.parametrize("root", ["./", ".", "/."[1:] + "//"])
def test_a_tar_of_a_folder_begins_with_its_root(tmp_path: Path, root: str) -> None:
    info = tarfile.TarInfo(root)
    info.type = tarfile.DIRTYPE
    folder = unpack_tar(write_tar(tmp_path / "x.tar.gz", {"": info, "./a/b.png": b"x"}))
    assert [path.name for path in folder.rglob("*")] == ["a", "b.png"]


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_no_flipped_bit_of_a_packed_tar_gives_other_files(tmp_path: Path, packing: str) -> None:
    content = np.random.default_rng(0).integers(0, 4, 3000, np.uint8).tobytes()
    with tarfile.open(tmp_path / "x.tar.gz", f"w:{packing}") as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a.png")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    whole = (tmp_path / "x.tar.gz").read_bytes()
    refused = 0
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path = tmp_path / f"{at}.tar.gz"
        path.write_bytes(damaged)
        try:
            folder = unpack_tar(path)
        except SourceError:
            assert not (tmp_path / f"{at}.unpacked").exists()
            refused += 1
        else:
            assert [file.read_bytes() for file in folder.rglob("*.png")] == [content]
    assert refused >= len(range(0, len(whole), 3)) - 12  # gzip's own name, time and system say nothing of the files


def test_a_tar_cut_off_between_two_files_is_refused(tmp_path: Path) -> None:
    whole = gzip.decompress(write_tar(tmp_path / "x.tar.gz", {"a.png": b"x", "b.png": b"y"}).read_bytes())
    (tmp_path / "cut.tar").write_bytes(whole[:1024])
    with pytest.raises(SourceError, match="it is cut off before its end marker"):
        unpack_tar(tmp_path / "cut.tar")
    wrong = bytearray(whole)
    wrong[0] ^= 1
    (tmp_path / "wrong.tar").write_bytes(wrong)
    with pytest.raises(SourceError, match="a header has a wrong checksum"):
        unpack_tar(tmp_path / "wrong.tar")


@pytest.mark.parametrize(("damage", "reason"), [
    (lambda data: bytes(len(data)), "it contains no files"),
    (lambda data: bytes(512) + data[512:], "it contains no files"),
    (lambda data: data[:1024] + bytes(512) + data[1536:], "surplus data after its end marker"),
])
def test_a_tar_with_a_page_of_zeros_is_refused(tmp_path: Path, damage, reason: str) -> None:
    """Zeros are its end mark: what stands behind them would be left out without a word."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in "ab":
            info = tarfile.TarInfo(name)
            info.size = 512
            tar.addfile(info, io.BytesIO(bytes(range(256)) * 2))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match=reason):
        unpack_tar(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]


def header(name: bytes, size: int, kind: bytes) -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11)
    block[148:157] = b" " * 8 + kind
    block[257:265] = b"ustar\x0000"
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


PAX_SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
HOSTILE_TARS = {
    "long name": (header(b"x", 4 << 30, b"L") + bytes(1 << 20), "too long .4294967296 bytes"),
    "pax header": (header(b"x", 4 << 30, b"x") + bytes(1 << 20), "too long .4294967296 bytes"),
    "shared pax header": (header(b"x", 4 << 30, b"g") + bytes(1 << 20), "too long .4294967296 bytes"),
    "size of 96 bits": (header(b"x", 1 << 87, b"0"), "more than 100 times its size"),
    "headers without an end": (header(b"x", 0, b"x") * 5000, "number 9 of one file"),
    "sparse": (header(b"x", 0, b"S"), "a sparse, x"),
    "sparse by pax": (
        header(b"x", len(PAX_SPARSE), b"x") + PAX_SPARSE.ljust(512, b"\0") + header(b"y", 0, b"0"), "a sparse, y",
    ),
    "pax without a length": (header(b"x", 512, b"x") + b"path=x\n".ljust(512, b"\0"), "a pax header is malformed"),
    "pax of length 0": (header(b"x", 512, b"x") + b"0 a=b\n".ljust(512, b"\0"), "a pax header is malformed"),
    "pax with a wrong size": (
        header(b"x", 512, b"x") + b"12 size=-12\n".ljust(512, b"\0") + header(b"x", 0, b"0"), "an invalid number",
    ),
    "NUL in a pax name": (
        header(b"x", 512, b"x") + b"12 path=a\0b\n".ljust(512, b"\0") + header(b"x", 0, b"0"), r"the path 'a\\x00b'",
    ),
    "number": (header(b"x", 0, b"0").replace(b"00000000000", b"00000000009"), "wrong checksum"),
    "device": (header(b"x", 0, b"3"), "a link or device, x"),
    "nameless file": (header(b"", 0, b"0"), "the path ''"),
    "file as root": (header(b".", 0, b"0"), r"the path '\.'"),
    "deep": (
        header(b"x", 300, b"L") + (b"a/" * 150).ljust(512, b"\0") + header(b"x", 0, b"5"), "150 nested folders",
    ),
    "twice": (header(b"x", 0, b"0") * 2, "contains x twice"),
    "folder where a file is": (header(b"x", 0, b"0") + header(b"x/y", 0, b"0"), "contains x.* twice"),
    "file where a folder is": (header(b"x/y", 0, b"0") + header(b"x", 0, b"0"), "contains x twice"),
    "no tar": (b"no tar at all" * 100, "damaged tar archive: a header has an invalid number"),
    "empty": (b"", "cut off"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer.*git lfs pull"),
    "page": (b"<!doctype html><title>Log in</title>", "a web page, not a"),
}

STAND_INS = {"pointer", "page"}


@pytest.mark.parametrize(
    ("name", "packed"),
    [(name, packed) for packed in (False, True) for name in HOSTILE_TARS if not packed or name not in STAND_INS],
)
def test_a_hostile_tar_is_refused_in_one_line(tmp_path: Path, name: str, packed: bool) -> None:
    content, reason = HOSTILE_TARS[name]
    path = tmp_path / "x.tar.gz"
    content += bytes(1024) if content and name not in STAND_INS else b""
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(SourceError, match=reason) as caught:
        unpack_tar(path)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tar.gz"]


TAR_BOMBS = {
    "name": lambda: header(b"x", 600 << 20, b"L") + bytes(600 << 20),
    "headers": lambda: header(b"x", 0, b"g") * 500_000,
    "sparse map": lambda: (header(b"x", len(PAX_SPARSE), b"x") + PAX_SPARSE.ljust(512, b"\0")
                           + header(b"y", 300 << 20, b"0") + b"999999999\n" + b"0\n" * (150 << 20)),
    "behind the end": lambda: header(b"x", 0, b"0") + bytes(600 << 20),
}


@pytest.mark.parametrize("name", TAR_BOMBS)
def test_a_tar_takes_little_memory_whatever_it_claims(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(TAR_BOMBS[name](), 1))
    code = "from mmtk.datasets.archives import unpack_tar; from pathlib import Path; unpack_tar(Path(path))"
    peak, line = peak_of(code, path)
    assert "x.tar.gz: is " in line or "x.tar.gz: unpacks" in line
    assert peak < 256


def craft(path: Path, content: bytes, pack: int, size: int | None = None, **facts: int) -> Path:
    """A zip of one file whose headers claim what they like."""
    packed = content if pack == zipfile.ZIP_STORED else zlib.compress(content, 9)[2:-4]
    size = len(content) if size is None else size
    crc = facts.get("crc", zlib.crc32(content))
    first = (facts.get("needs", 20), facts.get("flags", 0), facts.get("method", pack))
    common = struct.pack("<HHHHHIIIHH", *first, 0, 33, crc, len(packed), size, 5, 0)
    local = b"PK\3\4" + common + b"a.png" + packed
    entry = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + b"a.png"
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)
    path.write_bytes(local + entry + end)
    return path


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"flags": 1}, "protected by a password .a.png.; unpack it yourself"),
        ({"flags": 0x40}, "protected by a password"), ({"flags": 0x20}, "protected by a password"),
        ({"method": 12}, "unsupported compression method 12 for a.png; unpack it yourself"),
        ({"method": 14}, "method 14"), ({"method": 93}, "method 93"), ({"method": 99}, "method 99"),
        ({"needs": 99}, r"damaged zip archive: zip file version 9\.9"),
    ],
)
def test_a_zip_that_cannot_be_read_in_place_is_refused(tmp_path: Path, facts: dict[str, int], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        ZipArchive(craft(tmp_path / "x.zip", b"x" * 100, zipfile.ZIP_STORED, **facts))


@pytest.mark.parametrize("pack", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("size", "reason"), [(50, "Bad CRC-32"), (150, "100 bytes, not 150")])
def test_a_member_of_another_size_than_it_claims_is_damaged(tmp_path: Path, pack: int, size: int, reason: str) -> None:
    archive = ZipArchive(craft(tmp_path / "x.zip", b"x" * 100, pack, size))
    with pytest.raises(zipfile.BadZipFile, match=reason), archive.member("a.png").open() as stream:
        stream.read()


def test_a_member_is_checked_also_by_steps_back_and_forth(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(10_000)
    for pack in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive = ZipArchive(craft(tmp_path / "x.zip", content, pack))
        with archive.member("a.png").open() as stream:
            assert (stream.read(5), stream.seek(9000), stream.read(5)) == (content[:5], 9000, content[9000:9005])
            assert (stream.seek(-9003, 1), stream.read()) == (2, content[2:])
        archive = ZipArchive(craft(tmp_path / "x.zip", content, pack, crc=1))
        with archive.member("a.png").open() as stream:
            stream.seek(90)
            stream.seek(0)
            with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
                stream.read()


def test_a_wrong_header_in_a_damaged_zip_is_told_as_damage(busi: Path, tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", np.zeros((40, 40), np.uint8))[1].tobytes() + np.random.default_rng(0).bytes(200_000)
    wrong = data.replace(b"\xff\xc0", b"\xff\xc3")  # a lossless one, which no recipe covers
    path = craft(tmp_path / "x.zip", wrong, zipfile.ZIP_DEFLATED, crc=zlib.crc32(data))
    with pytest.raises(ImageError, match=r"x\.zip/a\.png: is a damaged image file: Bad CRC-32"):
        probe(ZipArchive(path).member("a.png"))


@pytest.mark.parametrize("claim", [100, 700 << 20])
def test_a_member_takes_little_memory_whatever_it_unpacks_to(tmp_path: Path, claim: int) -> None:
    path = craft(tmp_path / "x.zip", bytes(700 << 20), zipfile.ZIP_DEFLATED, claim)
    code = ("from mmtk.datasets.archives import ZipArchive; from pathlib import Path; "
            "read_image(ZipArchive(Path(path)).member('a.png'), False)")
    peak, line = peak_of(code, path)
    assert "damaged" in line or "unsafe" in line or "unpacks" in line
    assert peak < 256


def test_a_zip_with_a_giant_list_of_files_is_refused_unread(tmp_path: Path) -> None:
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 5) + bytes(16) + b"a.png"
    number = 6_000_000
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, number * len(entry), 0, 0)
    path = tmp_path / "x.zip"
    path.write_bytes(entry * number + end)
    code = "from pathlib import Path; from mmtk.datasets.archives import ZipArchive; ZipArchive(Path(path))"
    peak, line = peak_of(code, path)
    assert "its list of files has 306000000 bytes" in line
    assert peak < 256


@pytest.mark.parametrize("name", [
    "", ".", "a\\..\\..\\b.png", "C:x.png", "C:\\x.png", "\\x.png", "/x.png", "a/../../x.png",
])
def test_names_in_a_zip_that_name_no_file_inside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"it contains the path"):
        ZipArchive(write_zip(tmp_path / "x.zip", [name]))


def test_backslashes_of_windows_programs_separate_folders(tmp_path: Path) -> None:
    archive = ZipArchive(write_zip(tmp_path / "x.zip", ["a\\b.png", "a\\c\\", "d.png"]))
    assert archive.names == ("a/b.png", "d.png")
    assert archive.member("a/b.png").open().read() == archive.file.read("d.png")
    with pytest.raises(SourceError, match="twice"):
        ZipArchive(write_zip(tmp_path / "twice.zip", ["a\\b.png", "a/b.png"]))


def test_a_name_with_nul_or_no_utf8_in_a_zip_is_refused(tmp_path: Path) -> None:
    whole = craft(tmp_path / "x.zip", b"x", zipfile.ZIP_STORED).read_bytes()
    (tmp_path / "x.zip").write_bytes(whole.replace(b"a.png", b"a\0png"))
    with pytest.raises(SourceError, match=r"the path 'a\\x00png'"):
        ZipArchive(tmp_path / "x.zip")
    utf8 = craft(tmp_path / "x.zip", b"x", zipfile.ZIP_STORED, flags=0x800).read_bytes()
    (tmp_path / "x.zip").write_bytes(utf8.replace(b"a.png", b"\xff.png"))
    with pytest.raises(SourceError, match=r"damaged zip archive: .*codec"):
        ZipArchive(tmp_path / "x.zip")
    (tmp_path / "x.zip").write_bytes(utf8[:40].replace(b"a.png", b"\xff.png") + utf8[40:])  # in one of its two places
    with pytest.raises(ImageError, match=r"damaged image file: .*codec"):
        read_image(ZipArchive(tmp_path / "x.zip").member("a.png"), False)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_zip_with_what_is_no_file_is_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("x.png")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "x")
    with pytest.raises(SourceError, match=r"a link or device, x\.png"):
        ZipArchive(tmp_path / "x.zip")


@pytest.mark.parametrize("code", ["EMFILE", "EACCES", "EIO", "ENOMEM"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_error_of_the_system_is_not_told_as_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    path = write_zip(tmp_path / "x.zip", ["a.png"]) if kind == "zip" else write_tar(tmp_path / "x.tar", {"a.png": b"x"})
    monkeypatch.setattr(*(("mmtk.datasets.archives._BoundedFile", fail) if kind == "zip" else (Path, "open", fail)))
    with pytest.raises(SourceError, match=f"(?i){os.strerror(getattr(errno, code))}") as caught:
        (ZipArchive if kind == "zip" else unpack_tar)(path)
    for accusing in ("damaged", "corrupt", "again"):
        assert accusing not in str(caught.value)


def test_a_pointer_in_place_of_a_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(SourceError, match=r"is a Git LFS pointer, not a .*; get the .* `git lfs pull`"):
        ZipArchive(tmp_path / "x.zip")


def test_text_in_other_encodings_and_line_ends(tmp_path: Path) -> None:
    text = "lesion_id,image_id,dx\nHAM_1,ISIC_0000001,nv\n"
    for name, data in {
        "bom": b"\xef\xbb\xbf" + text.encode(), "utf16": text.encode("utf-16"),
        "crlf": text.replace("\n", "\r\n").encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert open_listing(tmp_path).read_text(name) == text
    (tmp_path / "latin").write_bytes("lésion".encode("latin-1"))
    with pytest.raises(SourceError, match="not UTF-8 text; save it as UTF-8"):
        open_listing(tmp_path).read_text("latin")


def test_the_zip_of_a_whole_source_builds(real_data: Path, tmp_path: Path) -> None:
    """The 46 real BUSI images, packed: the same store as from the folder."""
    (expected,) = mmtk.build("breastmnist", sources=real_data / "sources/busi", out=tmp_path / "a", allow_partial=True)
    path = zipped(real_data / "sources/busi", tmp_path / "archive.zip")
    (found,) = mmtk.build("breastmnist", sources=path, out=tmp_path / "b", allow_partial=True)
    assert found.path.read_bytes() == expected.path.read_bytes()
    assert replace(found, path=expected.path) == expected
