"""The Organ sets from LiTS: volume 44 bit for bit, what clean pixels are, and volumes that lie against their boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import mmtk
from mmtk import matching, store
from mmtk.datasets import get_dataset
from mmtk.datasets.listing import find_source, open_listing
from mmtk.datasets.maps import known_rows
from mmtk.datasets.steps import HuWindow, Resize, Slice, Zoom, recipe_to_json
from mmtk.errors import ArgumentError, ImageError, SourceError, StoreError
from mmtk.imaging import Volume
from mmtk.matching._axes import spine_offset
from mmtk.phantom import write_phantom
from tests import lits44, reference
from tests.commands import invoke
from tests.test_builder_families import INSIDE, ORGANS, VOXELS, lits_of
from tests.test_imaging_volume import nifti

ALLOWED = {"allow_partial": True, "edition": "2024"}


@pytest.fixture(scope="module")
def volume44(real_data):
    return lits44.volume(real_data)


@pytest.fixture(scope="module")
def source44(real_data, volume44, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lits44.write_source(tmp_path_factory.mktemp("lits44"), real_data, voxels=volume44)


@pytest.fixture(scope="module")
def built44(source44, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stores44")
    results = mmtk.build(ORGANS, sources=source44, out=out, sizes=(28, 128), **ALLOWED)
    assert {f.name: f.detail for f in results[0].findings if f.kind == "doubt"} == {
        "volume-44.nii": "its y axis runs opposite to the boxes, so its crops are misplaced"
    }
    return out


def by_source(path: Path) -> dict[str, tuple[np.ndarray, int]]:
    split = mmtk.open(path).train
    names = (record["source"].decode() for record in split.records)
    return {name: (image, int(label[0])) for name, image, label in zip(names, split.images, split.labels, strict=True)}


def test_127_of_127_axial_images_of_volume_44_are_official_rows(real_data, built44) -> None:
    ours = by_source(built44 / "organamnist_28.h5")
    rows = known_rows("organamnist", "2024")["train"]
    with np.load(real_data / "npz/organamnist.npz") as official:
        images, labels = official["train_images"], official["train_labels"]
    assert len(ours) == len(rows) == 127
    for index, row in rows.items():
        image, label = ours[row.source]
        np.testing.assert_array_equal(image, images[index], row.source)
        assert (label,) == row.labels == (labels[index, 0],)
    listed = {(index, f"train-44-{label + 1}-axial-{j:03d}") for index, _, j, label in lits44.official_rows(real_data)}
    assert listed == {(index, row.source) for index, row in rows.items()}


def test_every_plane_and_size_is_the_references(real_data, built44, volume44) -> None:
    grids = {organ: reference.organ_grid(volume44, box) for organ, box in lits44.boxes(real_data).items()}
    for flag, plane in zip(ORGANS, ("axial", "coronal", "sagittal"), strict=True):
        across = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
        wanted = {
            f"train-44-{lits44.ORGANS.index(organ) + 1}-{plane}-{j:03d}": (grid, j)
            for organ, grid in grids.items() for j in reference.organ_slices(grid.shape[across], plane)
        }
        small, large = (by_source(built44 / f"{flag}_{size}.h5") for size in (28, 128))
        assert set(small) == set(large) == set(wanted)
        for name, (grid, j) in wanted.items():
            np.testing.assert_array_equal(small[name][0], reference.organ_image(grid, plane, j, 28), name)
        for name in list(wanted)[::7]:
            np.testing.assert_array_equal(large[name][0], reference.organ_image(*wanted[name][:1], plane,
                                                                                wanted[name][1], 128), name)


def test_rows_of_volume_44_are_found_again_and_kept_as_a_map(real_data, source44, tmp_path: Path) -> None:
    choices = {"sources": source44, "allow_partial": True}
    with pytest.raises(StoreError, match=r"edition 2024.*edition 2020.*build with --edition 2024"):
        mmtk.build("organamnist", out=tmp_path / "old", match_npz=real_data / "npz", **choices)
    (found,) = mmtk.build("organamnist", out=tmp_path / "a", match_npz=real_data / "npz", edition="2024", **choices)
    assert found.partial
    assert sum(f.kind == "unmatched" for f in found.findings) == 34561 + 6491 + 17778 - 127
    names = [record["source"].decode() for record in mmtk.open(found.path).train.records]
    known = known_rows("organamnist", "2024")["train"]
    rows = {row.source: index for index, row in known.items()}
    assert sorted(names, key=rows.__getitem__) == names  # in the official order
    kept = matching.read_match(tmp_path / "a/organamnist_map.csv").rows["train"]
    assert [kept[index].source for index in known] == [row.source for row in known.values()]
    (again,) = mmtk.build(
        "organamnist", out=tmp_path / "b", map_csv=tmp_path / "a/organamnist_map.csv", edition="2024", **choices
    )
    assert np.array_equal(mmtk.open(again.path).train.images, mmtk.open(found.path).train.images)


def test_an_imported_file_names_the_rows_that_are_known(real_data, tmp_path: Path) -> None:
    opened = mmtk.open(store.import_npz(real_data / "npz/organamnist.npz", tmp_path))
    for index, row in known_rows("organamnist", "2024")["train"].items():
        record = opened.train.records[index]
        assert (record["source"].decode(), record["subject"].decode()) == (row.source, "train-44")
    assert opened.info.recipe == recipe_to_json(
        get_dataset("organamnist").recipe_for("official", 28)
    )


def test_clean_pixels_turn_the_volume_and_take_its_voxel_size(real_data, source44, volume44, tmp_path: Path) -> None:
    """The boxes count to the back; by the header the file's y runs to the front, so that clean crops lie elsewhere."""
    mmtk.build(ORGANS, sources=source44, out=tmp_path, pixels="clean", **ALLOWED)
    turned, mm = volume44[:, ::-1], np.float32(lits44.SPACING)
    for flag, across in zip(ORGANS, (2, 1, 0), strict=True):
        for name, (image, label) in list(by_source(tmp_path / f"{flag}_28.h5").items())[::5]:
            x0, x1, y0, y1, z0, z1 = lits44.boxes(real_data)[lits44.ORGANS[label]]
            crop = turned[x0:x1, y0:y1, z0:z1]
            shape = [round(n * float(size) / to) for n, size, to in zip(crop.shape, mm, (2, 2, 1), strict=True)]
            shape[across] = round(crop.shape[across] * (2.5 if across == 2 else 0.7031 / 2))
            grid = ndimage.zoom(crop, [u / n for u, n in zip(shape, crop.shape, strict=True)], order=3)
            for axis in range(3):  # no 0 HU where the last coordinate rounds up: the last voxel instead
                n, u = crop.shape[axis], shape[axis]
                assert (u - 1) * ((n - 1) / (u - 1)) <= n - 1, "draw another volume, this one has a filled edge"
            grey = (17 * (np.clip(grid.astype(int), -200, 250) + 200) // 30).astype(np.uint8)
            picture = np.take(grey, int(name.rsplit("-", 1)[1]), across)
            np.testing.assert_array_equal(image, reference.nearest(picture, (28, 28)), name)


def test_the_kidney_of_a_reversed_volume_shows_a_kidney_in_clean_pixels(source44, tmp_path: Path) -> None:
    """With contrast a kidney's cortex is brighter than liver and bowel, which the official crop shows."""
    bright = {}
    for pixels in ("official", "clean"):
        mmtk.build("organamnist", sources=source44, out=tmp_path / pixels, pixels=pixels, **ALLOWED)
        images = [image for image, label in by_source(tmp_path / pixels / "organamnist_28.h5").values() if label == 5]
        bright[pixels] = float(np.mean([np.mean(image[8:20, 8:20] > 200) for image in images]))
    assert bright["clean"] > 0.2 > 3 * bright["official"], bright


# ------------------------------------------------ volumes against their boxes


def test_the_audit_counts_images_that_show_another_place(source44, tmp_path: Path) -> None:
    table = tmp_path / "audit.csv"
    done = invoke("audit", "organamnist", "--sources", source44, "--csv", table, code=1)
    assert "127 of 127 official images do not show the place their label names" in done.output
    assert "127 train images; header axes relative to the boxes: y reversed; the spine is 0.23" in done.output
    assert "DISAGREE" not in done.output
    assert table.read_text().splitlines()[1:] == ["organamnist,volume,0,train,,volume-44.nii,,,"]


@pytest.mark.parametrize(
    ("signs", "reversed_", "contradiction"),
    [((-1, 1, 1), ("y",), False), ((-1, -1, 1), (), True), ((1, 1, 1), ("x", "y"), False),
     ((-1, -1, -1), ("z",), True)],
)
def test_header_and_body_are_held_against_each_other(
    real_data, volume44, tmp_path: Path, signs, reversed_, contradiction: bool
) -> None:
    folder = lits44.write_source(tmp_path / "lits", real_data, signs, volume44)
    dataset = get_dataset("organsmnist")
    (found,) = matching.audit_axes(dataset, find_source(folder, dataset))
    assert (found.reversed, found.has_axes, found.contradiction) == (reversed_, True, contradiction)
    assert found.misplaced
    assert found.spine == pytest.approx(-0.23, abs=0.03)
    assert "with y reversed" in str(found)
    if contradiction:  # what the header says must not be done in silence
        said = r"volume-44\.nii: has wrong axes in its header: they put the spine at the front"
        with pytest.raises(ImageError, match=rf"{said}; its array matches with y reversed"):
            mmtk.build(dataset, sources=folder, out=tmp_path / "out", pixels="clean", allow_partial=True)
        official = mmtk.build(dataset, sources=folder, out=tmp_path / "out", allow_partial=True)
        assert official[0].counts["train"] == 81
        boxes = folder / "annotations_on_LiTS"  # beside a volume that is right, one that is not is left out
        other = lits_of(tmp_path / "two", INSIDE, nifti(VOXELS))
        (other / "volume-44.nii").symlink_to(folder / "volume-44.nii")
        for archive in boxes.iterdir():
            (other / "annotations_on_LiTS" / archive.name).symlink_to(archive)
        skip = {"sources": other, "out": tmp_path / "skip", "pixels": "clean", "allow_partial": True}
        (built,) = mmtk.build(dataset, **skip, on_error="skip")
        assert {record["subject"] for record in mmtk.open(built.path).train.records} == {b"train-0"}
        assert sum("spine at the front" in f.detail for f in built.findings if f.kind == "bad") == 81
        assert mmtk.build(dataset, **skip, on_error="skip")[0].reused


@pytest.mark.parametrize("reversed_", [False, True])
def test_a_mask_beside_the_volume_tells_before_the_body(tmp_path: Path, reversed_: bool) -> None:
    """The liver's box is y 10 to 40 of 50; a mask in these rows fits, one in rows 5 to 15 fits them reversed."""
    folder = lits_of(tmp_path, "liver 1 10 50 20 45 5 35\n", nifti(VOXELS))
    mask = np.zeros(VOXELS.shape, np.int16)
    mask[10:20, 5:30 if reversed_ else 25, 20:30] = 1
    (folder / "segmentation-0.nii").write_bytes(nifti(mask if reversed_ else mask[:, ::-1]))
    dataset = get_dataset("organamnist")
    (found,) = matching.audit_axes(dataset, find_source(folder, dataset))
    assert (found.misplaced, found.contradiction) == (reversed_, reversed_)
    assert f"of the liver's box {'with y reversed' if reversed_ else 'as stored'}" in str(found)
    with pytest.raises(ArgumentError, match="or --sources with its CT volumes"):
        matching.audit("organamnist")


def test_a_body_without_bone_tells_nothing() -> None:
    assert spine_offset(np.full((40, 40, 40), -1000, np.int16)) == 0
    assert spine_offset(np.full((40, 40, 40), 50, np.int16)) == 0
    matching.expect_axes(Volume(np.zeros((9, 9, 9), np.int16), (-1, 1, 1)), Path("a.nii"))


def test_clean_pixels_need_axes_and_a_voxel_size(tmp_path: Path) -> None:
    for name, content, said in (
        ("a", nifti(VOXELS, spacing=(0, 0, 0)), "its header does not give the voxel size"),
        ("b", nifti(VOXELS, sform=False), ".*axes"),
    ):
        folder = lits_of(tmp_path / name, INSIDE, content)
        with pytest.raises(ImageError, match=rf"volume-0\.nii: {said}.*build with official"):
            mmtk.build("organamnist", sources=folder, out=tmp_path / "out", allow_partial=True, pixels="clean")
        (built,) = mmtk.build("organamnist", sources=folder, out=tmp_path / f"out {name}", allow_partial=True)
        assert built.counts["train"] > 0


@pytest.mark.parametrize("kind", ["u2", "f4", "f8", "i4"])
def test_volumes_of_other_types_give_the_same_images(tmp_path: Path, kind: str) -> None:
    plain = lits_of(tmp_path / "plain", INSIDE, nifti(VOXELS))
    stored = VOXELS.astype(int) + 1024 if kind == "u2" else VOXELS
    other = lits_of(tmp_path / "other", INSIDE, nifti(stored, kind, inter=-1024.0 if kind == "u2" else 0.0))
    one, two = (
        mmtk.build("organamnist", sources=folder, out=folder / "out", allow_partial=True)[0]
        for folder in (plain, other)
    )
    assert np.array_equal(mmtk.open(one.path).train.images, mmtk.open(two.path).train.images)


def test_an_empty_box_is_refused(tmp_path: Path) -> None:
    folder = lits_of(tmp_path, "liver 1 10 10 10 40 5 35\n", nifti(VOXELS))
    with pytest.raises(SourceError, match=r"segmentation-0\.txt line 1: has an empty box"):
        mmtk.build("organamnist", sources=folder, out=tmp_path / "out", allow_partial=True)


def test_slices_that_the_recipe_does_not_take_are_refused(tmp_path: Path) -> None:
    folder = lits_of(tmp_path, INSIDE, nifti(VOXELS))
    for cut, said in ((Slice("coronal", 2), "coronal slices"), (Slice("axial", 3), "found axial slice")):
        other = replace(get_dataset("organamnist"), recipe=(Zoom((0.7, 0.7, 2.5)), cut, HuWindow(), Resize()))
        with pytest.raises(ArgumentError, match=said):
            mmtk.build(other, sources=folder, out=tmp_path / "out", allow_partial=True)


def test_phantoms_have_a_volume_against_its_boxes(tmp_path: Path) -> None:
    source = write_phantom("organmnist", tmp_path, 1e-9)
    dataset = get_dataset("organcmnist")
    found = {Path(v.file).name: v for v in matching.audit_axes(dataset, open_listing(source))}
    assert {name for name, volume in found.items() if volume.misplaced} == {"test-volume-0.nii"}
    assert not any(volume.contradiction for volume in found.values())
    assert len(found) == 3
    (built,) = mmtk.build(dataset, sources=source, out=tmp_path / "out", pixels="clean")
    official = mmtk.build(dataset, sources=source, out=tmp_path / "out2")[0]
    assert built.counts == official.counts
    assert np.array_equal(mmtk.open(built.path).test.labels, mmtk.open(official.path).test.labels)
