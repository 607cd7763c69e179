"""Phantoms of Path, Chest, OCT, Retina and LiTS at their smallest: layout, formats, quirks, minima, seeds."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from mmtk.datasets import TEN, get_dataset
from mmtk.datasets.base import SPLITS, Record
from mmtk.datasets.listing import Listing, find_source
from mmtk.errors import SourceError
from mmtk.imaging import probe, probe_volume, read_image
from mmtk.phantom import _chest, _oct, _organ, _path, _retina, write_phantom
from tests.commands import invoke
from tests.small_stores import digests

MODULES = {"pathmnist": _path, "chestmnist": _chest, "octmnist": _oct, "retinamnist": _retina, "organamnist": _organ}
PLANES = ("organamnist", "organcmnist", "organsmnist")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms")
    for flag in MODULES:
        write_phantom(flag, out, 1e-9, seed=3)
    return out


def scanned(flag: str, out: Path) -> tuple[Listing, tuple[Record, ...]]:
    listing = find_source(out, get_dataset(flag))
    scan = get_dataset(flag).scan(listing)
    assert {finding.kind for finding in scan.findings} <= {"junk", "left out"}
    return listing, scan.records


@pytest.mark.parametrize("flag", [*MODULES, "organcmnist", "organsmnist"])
def test_every_class_is_twice_in_every_split(flag: str, phantoms: Path) -> None:
    listing, records = scanned(flag, phantoms)
    assert listing.phantom is not None
    dataset = get_dataset(flag)
    splits = dataset.split.assign(records)
    for split in SPLITS:
        labels = np.array([r.labels for r, s in zip(records, splits, strict=True) if s == split])
        if flag == "chestmnist":
            assert labels.sum(axis=0).min() >= 2
            assert (1 - labels).sum(axis=0).min() >= 2
        else:
            assert min(Counter(labels[:, 0].tolist())[label] for label in range(len(dataset.classes))) >= 2
    if flag != "pathmnist" and flag != "octmnist":  # as the providers have it
        held = [{r.subject for r, s in zip(records, splits, strict=True) if s == split} for split in SPLITS]
        assert sum(map(len, held)) == len(set().union(*held))


@pytest.mark.parametrize("flag", ["pathmnist", "chestmnist", "octmnist"])
def test_without_its_mark_a_phantom_does_not_pass_for_real_data(flag: str, phantoms: Path) -> None:
    listing, _ = scanned(flag, phantoms)
    names = tuple(name for name in listing.names if "chexnet" not in name)
    with pytest.raises(SourceError, match="with other names"):
        get_dataset(flag).scan(Listing(listing.root, names))


@pytest.mark.parametrize("flag", ["retinamnist", *PLANES])
def test_without_its_mark_a_phantom_is_far_from_whole(flag: str, phantoms: Path) -> None:
    listing, _ = scanned(flag, phantoms)
    scan = get_dataset(flag).scan(replace(listing, phantom=None))
    assert any(finding.kind == "missing" for finding in scan.findings)


def test_formats_and_sizes_are_the_providers(phantoms: Path) -> None:
    headers = {
        flag: [probe(listing.path(record.file)) for record in records]
        for flag in list(MODULES)[:4] for listing, records in [scanned(flag, phantoms)]
    }
    assert set(headers["pathmnist"]) == {("tiff", 224, 224, 3)}
    assert set(headers["chestmnist"]) == {("png", 1024, 1024, 1), ("png", 1024, 1024, 4)}
    assert {h[0] for h in headers["octmnist"]} == {"jpeg"}
    assert {h[1:3] for h in headers["octmnist"]} >= {(496, 512), (496, 768), (512, 512)}
    assert {h[3] for h in headers["octmnist"]} == {1}
    assert set(headers["retinamnist"]) >= {("jpeg", 1736, 1824, 3), ("jpeg", 1728, 2304, 3)}


def test_quirks_are_the_providers(phantoms: Path) -> None:
    table = (phantoms / "chestmnist/Data_Entry_2017.csv").read_text().splitlines()
    assert table[0].endswith("OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],")
    assert any("|" in line for line in table)
    assert any("Pleural_Thickening" in line for line in table)
    nih = set((phantoms / "chestmnist/test_list.txt").read_text().split())
    listed = (phantoms / "chestmnist/chexnet_lists/test_list.txt").read_text().splitlines()
    chexnet = {line.split()[0] for line in listed}
    assert nih != chexnet
    grades = next(phantoms.rglob("regular-fundus-training.csv")).read_bytes()
    assert b"\\regular-fundus-training\\90001\\90001_l1.jpg" in grades
    assert b"\r\n" in grades
    volumes = {path.name: probe_volume(path) for path in sorted((phantoms / "organmnist").rglob("*volume-*"))}
    assert set(volumes) == {"volume-0.nii", "volume-115.nii.gz", "test-volume-0.nii", "test-volume-59.nii"}
    assert {header.inter for header in volumes.values()} == {0.0, -1024.0}
    assert {header.signs for header in volumes.values()} == {(-1, -1, 1), (-1, 1, 1), (0, 0, 0)}
    assert {header.spacing for header in volumes.values()} == {(0.75, 0.75, 2.5), (0, 0, 0)}
    assert {header.shape[:2] for header in volumes.values()} == {(512, 512)}


@pytest.mark.parametrize("flag", MODULES)
def test_pixels_follow_the_seed_alone(flag: str) -> None:
    module, rule = MODULES[flag], get_dataset(flag).split
    counts = module.counts(1e-9, rule)

    def first(seed: int) -> list[dict[str, bytes]]:
        return [module.extras(counts, seed), *itertools.islice(module.images(counts, seed), 2)]

    one, again, other = first(1), first(1), first(2)
    assert one == again
    assert [set(files) for files in one] == [set(files) for files in other]
    assert all(a != b for a, b in zip(one[1:], other[1:], strict=True))


def test_packed_volumes_hold_no_time(phantoms: Path) -> None:
    packed = (phantoms / "organmnist/Training Batch 1/volume-115.nii.gz").read_bytes()
    assert packed[4:8] == bytes(4)
    assert len(gzip.decompress(packed)) == probe_volume(
        phantoms / "organmnist/Training Batch 1/volume-115.nii.gz").bytes + 352


def test_a_volume_written_in_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.ones((3, 4, 5), np.int16)
    assert len(_organ._nifti(voxels, 0, 1, sized=True)) == 352 + voxels.nbytes
    write = SimpleITK.WriteImage

    def cut(image: object, path: Path) -> None:  # as it does on a full disk, without a word
        write(image, path)
        path.write_bytes(path.read_bytes()[:400])

    monkeypatch.setattr(SimpleITK, "WriteImage", cut)
    with pytest.raises(OSError, match="could not write the whole volume"):
        _organ._nifti(voxels, 0, 1, sized=True)
    monkeypatch.setattr(SimpleITK, "WriteImage", lambda image, path: write(image, path / "in/none.nii"))
    with pytest.raises(OSError, match="could not write the whole volume"):
        _organ._nifti(voxels, 0, 1, sized=True)


def test_all_ten_build_in_one_run_to_the_same_bytes_each_time(phantoms: Path, tmp_path: Path) -> None:
    for flag in ("breastmnist", "dermamnist", "pneumoniamnist"):
        write_phantom(flag, phantoms, 1e-9, seed=3)
    found = {}
    for workers in (1, 2):
        out = tmp_path / str(workers)
        options = ["--sources", phantoms, "--out", out, "--size", 28, "--size", 224, "--workers", workers, "--json"]
        results = json.loads(invoke("build", "--all", *options).stdout)
        wanted = {(flag, size) for flag in TEN for size in (28, 224)}
        assert {(one["flag"], one["size"]) for one in results} == wanted
        assert all(one["synthetic"] and not one["partial"] for one in results)
        found[workers] = digests(out)
    assert len(found[1]) == 20
    assert found[1] == found[2]


def test_rgba_reads_as_its_grey(phantoms: Path) -> None:
    listing, records = scanned("chestmnist", phantoms)
    stray = next(r.file for r in records if probe(listing.path(r.file)).channels == 4)
    picture = read_image(listing.path(stray), False)
    assert picture.shape == (1024, 1024)
    assert np.array_equal(picture, read_image(listing.path(stray), True)[..., 0])
