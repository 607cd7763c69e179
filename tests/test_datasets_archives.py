"""Providers' archives: read in place or unpacked, and refused where they are damaged or not to be trusted."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mmtk
from mmtk.datasets import get_dataset
from mmtk.datasets.archives import ZipArchive, unpack_tar
from mmtk.datasets.listing import find_source, open_listing
from mmtk.errors import ImageError, SourceError
from mmtk.imaging import probe, read_image
from mmtk.phantom import write_phantom


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
    with pytest.raises(SourceError, match=r"names that stay inside.*do not trust"):
        ZipArchive(write_zip(tmp_path / "x.zip", ["fine.png", name]))
    with pytest.raises(SourceError, match=r"names that stay inside.*do not trust"):
        unpack_tar(write_tar(tmp_path / "x.tar.gz", {"fine.png": b"x", name: b"x"}))
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip", "x.tar.gz"}
    assert not (tmp_path.parent / "above.png").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match=r"a link or device at link\.png"):
        ZipArchive(tmp_path / "x.zip")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(SourceError, match=r"a link or device at link\.png"):
            unpack_tar(write_tar(tmp_path / "x.tar.gz", {"link.png": info}))


def test_what_unpacks_to_a_hundred_times_its_size_is_refused(tmp_path: Path) -> None:
    bomb = {"zeros.png": bytes(20 << 20)}
    with pytest.raises(SourceError, match="at most 100 times its size, found 21 MB in 0"):
        ZipArchive(write_zip(tmp_path / "x.zip", bomb, zipfile.ZIP_DEFLATED))
    with pytest.raises(SourceError, match="at most 100 times its size"):
        unpack_tar(write_tar(tmp_path / "x.tar.gz", bomb))
    assert not list(tmp_path.glob("*unpacked*"))


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar.gz", {"a.png": np.random.default_rng(0).bytes(100_000)}).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cut\.tar\.gz: expected a whole tar archive"):
        unpack_tar(tmp_path / "cut.tar.gz")
    assert not list(tmp_path.glob("*cut.unpacked*"))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(SourceError, match=r"cut\.zip: expected a whole zip archive"):
        open_listing(tmp_path / "cut.zip")
    twice = tmp_path / "twice.zip"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"y")
    with pytest.raises(SourceError, match="each name once"):
        ZipArchive(twice)


def test_a_flipped_byte_in_a_zip_is_an_error_of_that_image(busi: Path, tmp_path: Path) -> None:
    picture = next(busi.rglob("*).png"))
    path = write_zip(tmp_path / "x.zip", {"a.png": picture.read_bytes()})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"x\.zip/a\.png: expected .*(CRC|checksum)"):
        read_image(open_listing(path).path("a.png"), False)


def test_text_in_other_encodings_and_line_ends(tmp_path: Path) -> None:
    text = "lesion_id,image_id,dx\nHAM_1,ISIC_0000001,nv\n"
    for name, data in {
        "bom": b"\xef\xbb\xbf" + text.encode(), "utf16": text.encode("utf-16"),
        "crlf": text.replace("\n", "\r\n").encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert open_listing(tmp_path).read_text(name) == text
    (tmp_path / "latin").write_bytes("lésion".encode("latin-1"))
    with pytest.raises(SourceError, match="no UTF-8; save it as UTF-8"):
        open_listing(tmp_path).read_text("latin")


def test_the_zip_of_a_whole_source_builds(real_data: Path, tmp_path: Path) -> None:
    """The 46 real BUSI images, packed: the same store as from the folder."""
    (expected,) = mmtk.build("breastmnist", sources=real_data / "sources/busi", out=tmp_path / "a", allow_partial=True)
    path = zipped(real_data / "sources/busi", tmp_path / "archive.zip")
    (found,) = mmtk.build("breastmnist", sources=path, out=tmp_path / "b", allow_partial=True)
    assert found.path.read_bytes() == expected.path.read_bytes()
    assert replace(found, path=expected.path) == expected
