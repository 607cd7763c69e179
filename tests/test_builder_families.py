"""The Organ sets, built from one pass over their volumes; matching, grouping, editions; real samples of all sources."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mmtk
from mmtk import store
from mmtk.builder import make_plan, recipe
from mmtk.datasets import get_dataset
from mmtk.datasets.listing import find_source, open_listing
from mmtk.datasets.steps import HuWindow, Resize, Slice, Zoom
from mmtk.errors import ArgumentError, ImageError, SourceError
from mmtk.imaging import read_volume
from mmtk.phantom import write_phantom
from tests import reference
from tests.commands import invoke
from tests.small_stores import digests
from tests.test_imaging_volume import nifti

ORGANS = ("organamnist", "organcmnist", "organsmnist")


@pytest.fixture(scope="module")
def lits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom("organmnist", tmp_path_factory.mktemp("lits"), scale=0.001)


def test_one_pass_over_the_volumes_serves_three_planes_and_all_sizes(lits: Path, tmp_path: Path, monkeypatch) -> None:
    reads: Counter[str] = Counter()

    def counting(path, **options):
        reads[Path(path).name] += 1
        return read_volume(path, **options)

    monkeypatch.setattr(recipe, "read_volume", counting)
    results = mmtk.build(ORGANS, sources=lits, out=tmp_path / "one", sizes=(28, 224), workers=1)
    assert [(r.flag, r.size) for r in results] == [(flag, size) for flag in ORGANS for size in (28, 224)]
    volumes = {path.name for path in lits.rglob("*volume*.nii*")} - {"test-volume-59.nii"}
    assert reads == dict.fromkeys(volumes, 1)  # each once, and not the swapped one
    mmtk.build(ORGANS, sources=lits, out=tmp_path / "two", sizes=(28, 224), workers=2)
    for flag in ORGANS:  # one by one, too
        mmtk.build(flag, sources=lits, out=tmp_path / "alone", sizes=(28, 224))
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "alone")
    assert len(digests(tmp_path / "one")) == 6
    again = mmtk.build(ORGANS, sources=lits, out=tmp_path / "one", sizes=(28, 224))
    assert all(result.reused for result in again)


def test_images_are_zoomed_windowed_sliced_and_resized_as_the_recipe_says(lits: Path, tmp_path: Path) -> None:
    for result in mmtk.build(ORGANS, sources=lits, out=tmp_path, sizes=(28, 64)):
        opened = mmtk.open(result.path)
        assert opened.info.synthetic
        cuts = {r.source: r.cut for r in get_dataset(result.flag).scan(open_listing(lits)).records}
        for split in opened.splits:
            for at in range(0, len(split), 17):
                record = split.records[at]
                part, number, organ, plane, j = record["source"].decode().rsplit("-", 4)
                assert (record["plane"].decode(), int(record["slice"])) == (plane, int(j))
                assert int(organ) - 1 == split.labels[at, 0]
                name = f"{'test-' if part == 'test' else ''}volume-{number}.nii*"
                box = cuts[record["source"].decode()].box
                rows, columns = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}[plane]
                assert (record["top"], record["left"]) == (box[2 * rows], box[2 * columns])
                sides = [box[2 * axis + 1] - box[2 * axis] for axis in (rows, columns)]
                assert [record["height"], record["width"], record["side"]] == [*sides, max(sides)]
                grid = reference.organ_grid(read_volume(next(lits.rglob(name))).voxels.transpose(2, 1, 0), box)
                wanted = reference.organ_image(grid, plane, int(j), result.size)
                assert np.array_equal(split.images[at], wanted)


def test_the_2024_edition_leaves_blank_slices_out(lits: Path, tmp_path: Path) -> None:
    kept = mmtk.build(ORGANS, sources=lits, out=tmp_path / "2020", sizes=(28, 64))
    left = mmtk.build(ORGANS, sources=lits, out=tmp_path / "2024", sizes=(28, 64), edition="2024", workers=2)
    gone = 0
    for before, after in zip(kept, left, strict=True):
        old, new = mmtk.open(before.path), mmtk.open(after.path)
        assert new.info.edition == "2024"
        assert not new.info.partial
        for one, other in zip(old.splits, new.splits, strict=True):
            blank = one.images.reshape(len(one), -1).std(axis=1) == 0
            assert np.array_equal(one.images[~blank], other.images)
            assert np.array_equal(one.records[~blank], other.records)
            gone += int(blank.sum())
    assert gone > 0
    before = digests(tmp_path / "2024")
    again = mmtk.build(ORGANS, sources=lits, out=tmp_path / "2024", sizes=(28, 64), edition="2024")
    assert all(result.reused for result in again)
    assert [result.counts for result in again] == [result.counts for result in left]
    assert digests(tmp_path / "2024") == before


def test_files_bear_the_names_of_their_edition(lits: Path, tmp_path: Path) -> None:
    for edition, name in (("2020", "organmnist_coronal.npz"), ("2024", "organcmnist.npz")):
        (result,) = mmtk.build("organmnist_coronal", sources=lits, out=tmp_path / edition, edition=edition)
        written = store.export_npz(mmtk.open(result.path), tmp_path / edition)
        assert written.name == name
        imported = mmtk.open(store.import_npz(written, tmp_path / edition / "again"))
        assert imported.info.flag == "organcmnist"


def test_another_recipe_of_the_same_slices(lits: Path, tmp_path: Path) -> None:
    plain = get_dataset("organamnist")
    other = replace(plain, recipe=(Zoom((0.75, 0.75, 2.5)), Slice("axial", 4), HuWindow(40.0, 400.0), Resize("box")))
    (one,) = mmtk.build(plain, sources=lits, out=tmp_path / "a")
    (two,) = mmtk.build(other, sources=lits, out=tmp_path / "b")
    first, second = mmtk.open(one.path), mmtk.open(two.path)
    assert one.counts == two.counts
    assert first.info.recipe_hash != second.info.recipe_hash
    assert not np.array_equal(first.train.images, second.train.images)
    assert '"spacing":[0.75,0.75,2.5]' in second.info.recipe


def lits_of(tmp_path: Path, boxes: str, content: bytes, name: str = "volume-0.nii") -> Path:
    folder = tmp_path / "lits"
    (folder / "annotations_on_LiTS").mkdir(parents=True)
    (folder / "annotations_on_LiTS/segmentation-0.txt").write_text(boxes)
    (folder / name).write_bytes(content)
    return folder


VOXELS = np.random.default_rng(0).integers(-200, 300, (40, 50, 60)).astype(np.int16)
INSIDE = "liver 1 10 50 10 40 5 35\n"


def test_which_editions_have_blank_slices_is_told_by_the_dataset(tmp_path: Path) -> None:
    listing = find_source(lits_of(tmp_path, INSIDE, nifti(VOXELS)), get_dataset("organamnist"))
    for flag in ORGANS:
        for blank_in, kept in ((get_dataset(flag).blank_in, True), ((), False), (("2024",), False)):
            plan = make_plan(replace(get_dataset(flag), blank_in=blank_in), listing, allow_partial=True)
            assert plan.keeps_blank == kept
            assert plan.membership.endswith("; without blank slices") == (not kept)


def test_boxes_outside_their_volume_are_refused(tmp_path: Path) -> None:
    folder = lits_of(tmp_path, "liver 1 10 60 10 51 5 35\n", nifti(VOXELS))
    with pytest.raises(ImageError) as caught:
        mmtk.build("organamnist", sources=folder, out=tmp_path / "out", allow_partial=True)
    said = "volume-0.nii: the box of liver (x 10 to 60, y 10 to 51, z 5 to 35) exceeds the volume of 60 x 50 x 40"
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.h5"))


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_volume_that_is_cut_off_stops_the_build_or_is_left_out(tmp_path: Path, on_error: str) -> None:
    packed = gzip.compress(nifti(VOXELS))
    folder = lits_of(tmp_path, INSIDE, packed[: len(packed) // 2], "volume-0.nii.gz")
    (folder / "volume-115.nii").write_bytes(nifti(VOXELS, "f4", slope=2.0))
    (folder / "annotations_on_LiTS/segmentation-115.txt").write_text(INSIDE)
    choices = {"sources": folder, "out": tmp_path / "out", "allow_partial": True, "on_error": on_error}
    if on_error == "stop":
        with pytest.raises(ImageError, match=r"volume-0\.nii\.gz: .*file ended"):
            mmtk.build(ORGANS, **choices)
        assert not list((tmp_path / "out").glob("*.h5"))
        return
    results = mmtk.build(ORGANS, **choices)
    for result in results:
        assert (result.counts["train"], result.counts["val"] > 0, result.partial) == (0, True, True)
        assert {f.name.split("-")[1] for f in result.findings if f.kind == "bad"} == {"0"}
        lines = (tmp_path / "out" / f"{result.flag}_findings.csv").read_text().splitlines()
        assert len(lines) == 1 + sum(f.kind == "bad" for f in result.findings)
    assert all(result.reused for result in mmtk.build(ORGANS, **choices))


def test_float_volumes_with_nan_are_refused(tmp_path: Path) -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[3, 3, 3] = np.nan
    folder = lits_of(tmp_path, INSIDE, nifti(voxels, "f4"))
    with pytest.raises(ImageError, match=r"volume-0\.nii: .*NaN"):
        mmtk.build("organsmnist", sources=folder, out=tmp_path / "out", allow_partial=True)


def test_a_volume_without_boxes_needs_leave(tmp_path: Path) -> None:
    folder = lits_of(tmp_path, INSIDE, nifti(VOXELS))
    with pytest.raises(SourceError, match=r"LiTS .*is incomplete: .*first segmentation-1\.txt \(boxes\)"):
        mmtk.build("organamnist", sources=folder, out=tmp_path / "out")


# ------------------------------------------------------- grouped and matched


@pytest.mark.parametrize("flag", ["dermamnist", "pneumoniamnist"])
def test_grouped_stores_share_no_subject(flag: str, tmp_path: Path) -> None:
    source = write_phantom(flag, tmp_path / "raw", scale=0.01)
    (result,) = mmtk.build(flag, sources=source, out=tmp_path, split="grouped")
    opened = mmtk.open(result.path)
    assert opened.info.split == "grouped"
    held = [set(split.records["subject"].tolist()) for split in opened.splits]
    assert all(held)
    assert sum(map(len, held)) == len(set().union(*held))


def test_grouped_real_lists_keep_the_published_counts(real_data: Path, tmp_path: Path) -> None:
    names = open_listing(real_data / "sources/kermany-cxr/filelist_kaggle.txt")
    plan = make_plan(get_dataset("pneumoniamnist"), names, split="grouped", headers=False)
    assert [abs(plan.counts[s] - n) <= 2 for s, n in (("train", 4708), ("val", 524), ("test", 624))] == [True] * 3


def test_what_names_no_subjects_cannot_be_grouped(tmp_path: Path) -> None:
    source = write_phantom("breastmnist", tmp_path / "raw", scale=0.001)
    with pytest.raises(ArgumentError, match="BUSI does not name patients, lesions or volumes"):
        mmtk.build("breastmnist", sources=source, out=tmp_path, split="grouped")


def test_rows_and_order_are_recovered_from_an_official_file(tmp_path: Path) -> None:
    """A phantom's own store, its rows drawn anew and saved as .npz, stands for the official file."""
    source = write_phantom("dermamnist", tmp_path / "raw", scale=0.005)
    (built,) = mmtk.build("dermamnist", sources=source, out=tmp_path / "built")
    opened = mmtk.open(built.path)
    images, labels, names = (
        np.concatenate(parts)
        for parts in zip(*((s.images, s.labels, s.records["source"]) for s in opened.splits), strict=True)
    )
    order = np.random.default_rng(5).permutation(len(images))
    cuts = np.split(order, [len(order) // 2, 2 * len(order) // 3])
    arrays = {}
    for split, rows in zip(store.SPLITS, cuts, strict=True):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[rows], labels[rows]
    (tmp_path / "npz").mkdir()
    np.savez_compressed(tmp_path / "npz/dermamnist.npz", **arrays)
    choices = {"sources": source, "match_npz": tmp_path / "npz", "sizes": (28, 64)}
    small, large = mmtk.build("dermamnist", out=tmp_path / "matched", **choices)
    for result in (small, large):
        matched = mmtk.open(result.path)
        for split, rows in zip(matched.splits, cuts, strict=True):
            assert split.records["source"].tolist() == names[rows].tolist()
            assert np.array_equal(split.labels, labels[rows])
    assert np.array_equal(mmtk.open(small.path).val.images, images[cuts[1]])
    assert "recovered from dermamnist.npz by pixels" in mmtk.open(small.path).info.membership
    lines = (tmp_path / "matched/dermamnist_map.csv").read_text().splitlines()
    assert len(lines) == 1 + len(images)
    assert not (tmp_path / "matched/.dermamnist.match").exists()
    assert all(r.reused for r in mmtk.build("dermamnist", out=tmp_path / "matched", **choices))


def test_real_breast_is_recovered_from_its_official_file(real_data: Path, tmp_path: Path) -> None:
    choices = {"sources": real_data / "sources/busi", "allow_partial": True}
    (matched,) = mmtk.build("breastmnist", out=tmp_path / "a", match_npz=real_data / "npz", **choices)
    (known,) = mmtk.build("breastmnist", out=tmp_path / "b", **choices)
    one, other = mmtk.open(matched.path), mmtk.open(known.path)
    assert matched.counts == known.counts == {"train": 35, "val": 6, "test": 5}
    for split in range(3):
        assert one.splits[split].records["source"].tolist() == other.splits[split].records["source"].tolist()
        assert np.array_equal(one.splits[split].images, other.splits[split].images)


# ------------------------------------------------------------- real samples


@pytest.mark.parametrize(
    ("flag", "folder", "counts"),
    [("octmnist", "kermany-oct", (0, 0, 12)), ("pathmnist", "nct-crc", (0, 0, 3)),
     ("chestmnist", "chestxray14", (8, 0, 0)), ("dermamnist", "ham10000", (54, 5, 16)),
     ("pneumoniamnist", "kermany-cxr", (8, 1, 5))],
)
def test_real_samples_follow_the_reference(real_data: Path, tmp_path: Path, flag: str, folder: str, counts) -> None:
    import cv2

    sources = real_data / "sources" / folder
    (result,) = mmtk.build(flag, sources=sources, out=tmp_path, allow_partial=True, pixels="clean")
    (large,) = mmtk.build(flag, sources=sources, out=tmp_path, allow_partial=True, sizes=(224,))
    assert tuple(result.counts.values()) == counts
    dataset = get_dataset(flag)
    files = {r.source: r.file for r in dataset.scan(find_source(sources, dataset)).records}
    for split in mmtk.open(result.path).splits:
        for image, record in zip(split.images, split.records, strict=True):
            raw = cv2.imread(str(sources / files[record["source"].decode()]),
                             cv2.IMREAD_COLOR if dataset.channels == 3 else cv2.IMREAD_GRAYSCALE)
            raw = raw[..., ::-1] if dataset.channels == 3 else raw
            assert np.array_equal(image, reference.resize(reference.crop(raw), (28, 28)))
    for split in mmtk.open(large.path).splits:  # official ones of 224 px never were JPEG
        for image, record in zip(split.images, split.records, strict=True):
            raw = cv2.imread(str(sources / files[record["source"].decode()]), cv2.IMREAD_COLOR)[..., ::-1]
            raw = raw if dataset.channels == 3 else reference.rounded_grey(raw)
            assert np.array_equal(image, reference.resize(reference.crop(raw), (224, 224)))


def test_the_ct_stand_in_builds_from_boxes_of_its_segmentation(real_data: Path, tmp_path: Path) -> None:
    """Its segmentation is of another grid's thirty slices, as is example_ct_sm: the two fit each other."""
    folder = real_data / "sources/ct-standin"
    labels = read_volume(folder / "example_seg.nii.gz").voxels
    organs = {1: "spleen", 2: "kidney-r", 3: "kidney-l", 5: "liver", 7: "pancreas"}  # of TotalSegmentator
    lines = []
    for value, organ in organs.items():
        places = np.nonzero(labels == value)
        if len(places[0]):
            ends = [f"{axis.min()} {axis.max() + 1}" for axis in places[::-1]]
            lines.append(f"{organ} {value} {' '.join(ends)}")
    assert lines
    source = lits_of(tmp_path, "\n".join(lines), b"")
    (source / "volume-0.nii").unlink()
    shutil.copy(folder / "example_ct_sm.nii.gz", source / "volume-0.nii.gz")
    results = mmtk.build(ORGANS, sources=source, out=tmp_path / "out", allow_partial=True)
    for result in results:
        images = mmtk.open(result.path).train.images
        assert len(images)
        assert images.std() > 20


def test_all_passes_by_what_has_no_images(real_data: Path, tmp_path: Path) -> None:
    """Of DeepDRiD there are labels alone, of LiTS boxes alone."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("deepdrid", "lits", "nct-crc", "kermany-oct"):
        (sources / name).symlink_to(real_data / "sources" / name)
    done = invoke("build", "--all", "--sources", sources, "--out", tmp_path / "out", "--allow-partial")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["octmnist_28.h5", "pathmnist_28.h5"]
    assert "skipped: retinamnist" in done.output
    assert "skipped: organsmnist" in done.output
