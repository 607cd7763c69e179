"""Slices of somebody's own CT and MR volumes: whole slices, none twice, the patient upright, every grid in mm."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mmtk import imaging, store
from mmtk.builder import build
from mmtk.datasets.own import read_dataset
from mmtk.errors import ArgumentError, ImageError, MmtkError
from tests.commands import invoke, run_mmtk
from tests.own_data import toml

ORGANS = {"liver": 5, "kidneys": [2, 3]}
VOLUMES = {"image": "{subject}/ct.nii.gz", "mask": "{subject}/seg.nii.gz", "organs": ORGANS}
WINDOW = {"level": 50, "width": 400}
HEAD = {"classes": None, "task": "multi-class", "window": WINDOW}


def body(seed: int, shape: tuple[int, int, int] = (40, 36, 24)) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units (x to the left, y to the back, z up) and a mask of three organs."""
    rng = np.random.default_rng(seed)
    units = rng.integers(-150, 250, shape).astype(np.int16)
    mask = np.zeros(shape, np.uint8)
    mask[4:20, 6:22, 5:20] = 5
    mask[24:32, 20:30, 2:12] = 2
    mask[8:16, 24:32, 3:10] = 3
    return units, mask


def save(path: Path, array: np.ndarray, codes: str = "LPS", spacing: tuple[float, ...] = (2, 2, 3)) -> None:
    """An array that runs to left, back and head, as a NIfTI whose axes run as `codes` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    wanted = nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), wanted)
    turned = nib.orientations.apply_orientation(array, change)
    nib.save(nib.Nifti1Image(turned, affine @ nib.orientations.inv_ornt_aff(change, array.shape)), path)


def draw(folder: Path, codes: str = "LPS", patients: int = 6, **options) -> Path:
    for number in range(patients):
        units, mask = body(number)
        save(folder / f"p{number}" / "ct.nii.gz", units, codes, **options)
        save(folder / f"p{number}" / "seg.nii.gz", mask, codes, **options)
    return folder


def built(tmp_path: Path, raw: Path, name: str = "out", **tables) -> store.Store:
    file = toml(tmp_path / "a.toml", **{**HEAD, **tables})
    (result,) = build(read_dataset(file), sources=raw, out=tmp_path / name, force=True)
    return store.open(result.path)


def rows_of(opened: store.Store) -> dict[str, tuple[np.ndarray, int, str]]:
    rows = {}
    for split in opened.splits:
        for image, label, record in zip(split.images, split.labels, split.records, strict=True):
            rows[record["source"].decode()] = image, int(label[0]), record["subject"].decode()
    return rows


UPRIGHT = {  # of an array (x to the left, y to the back, z up), by nibabel's axes and NumPy alone
    "axial": lambda array, index: array[:, :, index].T,
    "coronal": lambda array, index: array[:, index].T[::-1],
    "sagittal": lambda array, index: array[index].T[::-1],
}


@pytest.mark.parametrize("plane", UPRIGHT)
@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL", "AIR"])
def test_slices_are_nibabels_pixel_by_pixel_in_every_order_of_axes(tmp_path, codes, plane):
    raw = draw(tmp_path / "raw", codes)
    opened = built(tmp_path, raw, volumes={**VOLUMES, "plane": plane})
    assert opened.info.classes == ("liver", "kidneys")
    across = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    seen = set()
    for name, (image, label, subject) in rows_of(opened).items():
        volume, organ, _, index = name.rsplit("-", 3)
        assert volume == f"{subject}/ct"
        file = nib.as_closest_canonical(nib.load(raw / subject / "ct.nii.gz"))
        units = np.asarray(file.dataobj)[::-1, ::-1]  # nibabel's canonical axes run to right, front and head
        mask = np.asarray(nib.as_closest_canonical(nib.load(raw / subject / "seg.nii.gz")).dataobj)[::-1, ::-1]
        there = np.isin(mask, np.atleast_1d(list(ORGANS.values())[label]))
        places = np.nonzero(there)
        box = [slice(int(axis.min()), int(axis.max()) + 1) for axis in places]
        low, high = box[across].start, box[across].stop - 1
        assert low + 0.2 * (high - low) - 0.01 <= int(index) <= low + 0.8 * (high - low) + 0.01
        grey = imaging.hu_window(units, 50, 400)
        box[across] = slice(None)
        wanted = imaging.resize(np.ascontiguousarray(UPRIGHT[plane](grey[tuple(box)], int(index))), (28, 28))
        np.testing.assert_array_equal(image, wanted)
        seen.add((subject, organ))
    assert len(seen) == 12
    people = [{r.decode() for r in part.records["subject"]} for part in opened.splits]
    assert sum(map(len, people)) == len(set().union(*people)) == 6


def test_slices_are_no_nearer_than_the_volume_has_them(tmp_path):
    raw = draw(tmp_path / "raw")
    every = rows_of(built(tmp_path, raw, volumes=VOLUMES))
    for spacing in (0.5, 1, 3):  # the volumes have 3 mm
        assert rows_of(built(tmp_path, raw, volumes={**VOLUMES, "spacing": spacing})).keys() == every.keys()
    fewer = rows_of(built(tmp_path, raw, volumes={**VOLUMES, "spacing": 6}))
    assert fewer.keys() < every.keys()
    pictures = [image.tobytes() for image, *_ in every.values()]
    assert len(set(pictures)) == len(pictures)


def test_a_crop_is_square_in_mm(tmp_path):
    units, mask = body(0)
    for number in range(4):
        save(tmp_path / "raw" / f"p{number}" / "ct.nii.gz", units + number, spacing=(1, 2, 3))
        save(tmp_path / "raw" / f"p{number}" / "seg.nii.gz", mask, spacing=(1, 2, 3))
    for crop, (width, height) in {"box": (16, 16), "square": (32, 16), "centre": (40, 20), "none": (40, 36)}.items():
        opened = built(tmp_path, tmp_path / "raw", volumes={**VOLUMES, "crop": crop})
        liver = opened.train.records[opened.train.labels[:, 0] == 0]
        assert set(zip(liver["height"].tolist(), liver["width"].tolist(), strict=True)) == {(width, height)}  # x, y


def test_whole_volumes_have_the_class_of_their_folder_or_table(tmp_path):
    for number in range(6):
        kind = ("flair", "t1")[number % 2]
        values = np.random.default_rng(number).random((24, 24, 8)).astype(np.float32)
        path = tmp_path / "raw" / kind / f"p{number}.nrrd"
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(values.transpose(2, 1, 0)), str(path))
    table = ["file,kind,who", *(f"{p.relative_to(tmp_path / 'raw')},{p.parent.name},{p.stem}"
                                for p in sorted((tmp_path / "raw").rglob("*.nrrd")))]
    (tmp_path / "raw" / "list.csv").write_text("\n".join(table) + "\n")
    head = {"classes": ["flair", "t1"], "task": "binary-class", "window": {"percentiles": [1, 99]}}
    by_folder = built(tmp_path, tmp_path / "raw", images={"files": "{class}/{subject}.nrrd"}, volumes={}, **head)
    columns = {"file": "list.csv", "column": "file", "label": "kind", "subject": "who"}
    by_table = built(tmp_path, tmp_path / "raw", "two", table=columns, volumes={"keep": [0.0, 1.0]}, **head)
    assert rows_of(by_folder).keys() == rows_of(by_table).keys()
    assert sum(by_folder.counts.values()) == 48
    name, (image, label, subject) = next(iter(rows_of(by_folder).items()))
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "raw" / ("flair", "t1")[label] / f"{subject}.nrrd")))
    low, high = np.percentile(values, (1, 99))
    grey = np.floor(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)
    wanted = imaging.resize(grey[int(name.rsplit("-", 1)[1])], (28, 28))
    assert int(np.abs(image.astype(int) - wanted).max()) <= 1  # float32 values, of a window in double


def test_the_file_may_lie_as_it_does(tmp_path):
    raw = draw(tmp_path / "raw", "RAS")
    opened = built(tmp_path, raw, volumes={**VOLUMES, "orientation": "file"})
    for name, (image, label, subject) in rows_of(opened).items():
        units, mask = (np.asarray(nib.load(raw / subject / f"{f}.nii.gz").dataobj) for f in ("ct", "seg"))
        x, y, _ = np.nonzero(np.isin(mask, np.atleast_1d(list(ORGANS.values())[label])))
        box = units[x.min() : x.max() + 1, y.min() : y.max() + 1, int(name.rsplit("-", 1)[1])]
        grey = imaging.hu_window(np.ascontiguousarray(box), 50, 400)
        np.testing.assert_array_equal(image, imaging.resize(grey, (28, 28)))


_KEYS = {
    "no window": ({"window": None}, "window: is missing"),
    "window of DICOM": ({"window": {"from": "dicom"}}, "window.from"),
    "no mask": ({"volumes": {"image": "*.nii", "organs": ORGANS}}, "volumes.mask: needs volumes.organs"),
    "no organs": ({"volumes": {"image": "*.nii", "mask": "*.nii"}}, "volumes.mask: needs volumes.organs"),
    "no image": ({"volumes": {"mask": "*.nii", "organs": ORGANS}}, "volumes.image: is missing"),
    "place of the mask": ({"volumes": {**VOLUMES, "mask": "{split}/*"}}, "which volumes.image does not"),
    "unknown place": ({"volumes": {**VOLUMES, "image": "{patient}/*"}}, r"the unknown field \{patient\}"),
    "path outside": ({"volumes": {**VOLUMES, "image": "../*"}}, "volumes.image: .* is not a pattern of paths inside"),
    "keep": ({"volumes": {**VOLUMES, "keep": [0.8, 0.2]}}, "volumes.keep: .* expected two fractions from 0 to 1"),
    "spacing": ({"volumes": {**VOLUMES, "spacing": -1}}, "volumes.spacing: found -1, expected"),
    "background": ({"volumes": {**VOLUMES, "organs": {"a": 0, "b": 1}}}, "volumes.organs: .* expected distinct values"),
    "one value twice": ({"volumes": {**VOLUMES, "organs": {"a": 1, "b": [1, 2]}}}, "volumes.organs: .* distinct"),
    "plane": ({"volumes": {**VOLUMES, "plane": "frontal"}}, "volumes.plane: .* one of axial, coronal, sagittal"),
    "other classes": ({"classes": ["a", "b"], "volumes": VOLUMES}, "classes: .* expected the organs .liver, kidneys"),
    "colour": ({"recipe": {"colour": "rgb"}, "volumes": VOLUMES}, "recipe.colour"),
}


@pytest.mark.parametrize("name", _KEYS)
def test_a_wrong_key_is_one_line(tmp_path, name):
    tables, message = _KEYS[name]
    with pytest.raises(ArgumentError, match=message):
        read_dataset(toml(tmp_path / "a.toml", **{**HEAD, "volumes": VOLUMES, **tables}))


def test_volumes_and_masks_that_do_not_fit(tmp_path):
    raw = draw(tmp_path / "raw")
    _, mask = body(0)
    seg = raw / "p3" / "seg.nii.gz"
    for array, options, message in (
        (mask[:, :, 1:], {}, "the grid of p3/ct.nii.gz; found 40 x 36 x 23 voxels"),
        (mask, {"spacing": (2, 2, 1)}, "found 40 x 36 x 24 voxels of 2 x 2 x 1 mm, .* of 2 x 2 x 3 mm; resample one"),
        ((mask + 0.5).astype(np.float32), {}, "not a label map"),
    ):
        save(seg, array, **options)
        with pytest.raises(MmtkError, match=message):
            built(tmp_path, raw, volumes=VOLUMES)
    seg.write_bytes(seg.read_bytes()[:-20])
    with pytest.raises(MmtkError, match=r"seg\.nii\.gz"):
        built(tmp_path, raw, volumes=VOLUMES)
    seg.unlink()
    with pytest.raises(MmtkError, match=r"no mask of p3/ct.nii.gz that matches \{subject\}/seg.nii.gz"):
        built(tmp_path, raw, volumes=VOLUMES)
    with pytest.raises(MmtkError, match="no volumes that match x/"):
        built(tmp_path, raw, volumes={**VOLUMES, "image": "x/{subject}.nii.gz"})


def moved(path: Path, *shift: float, turn: float = 0.0) -> None:
    """Shift a file by so many mm and turn it round its first voxel, its voxels left as they are."""
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += shift or (0, 0, 0)
    affine[:3, :3] = nib.eulerangles.euler2mat(turn) @ affine[:3, :3]
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


PLACE = r"seg\.nii\.gz: is not aligned with p3/ct.nii.gz; found first voxel at "
SHIFTS = {  # of voxels of 2 x 2 x 3 mm
    "a voxel": ({"shift": (2, 0, 0)}, PLACE + r"\(2, 0, 0\) mm, expected \(0, 0, 0\) mm; resample one"),
    "a slice": ({"shift": (0, 0, -3)}, PLACE + r"\(0, 0, -3\) mm, "),
    "half a voxel": ({"shift": (0, 1, 0)}, PLACE + r"\(0, 1, 0\) mm"),
    "far": ({"shift": (0, 0, 812.5)}, PLACE + r"\(0, 0, 812.5\) mm"),
    "tilted": ({"turn": np.deg2rad(5)}, "is rotated against p3/ct.nii.gz: their corners are 3.4 voxels apart; re"),
    "rounded": ({"shift": (0.05, -0.05, 0.05)}, ""),
    "turned by rounding": ({"turn": 1e-3}, ""),
}


@pytest.mark.parametrize("orientation", ["patient", "file"])
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_mask_must_lie_where_its_image_does(tmp_path, shift, orientation):
    how, message = SHIFTS[shift]
    raw = draw(tmp_path / "raw")
    volumes = {**VOLUMES, "orientation": orientation}
    before = rows_of(built(tmp_path, raw, volumes=volumes))
    moved(raw / "p3" / "seg.nii.gz", *how.get("shift", ()), turn=how.get("turn", 0.0))
    if message:
        with pytest.raises(ImageError, match=message):
            built(tmp_path, raw, volumes=volumes)
    else:
        assert rows_of(built(tmp_path, raw, volumes=volumes)).keys() == before.keys()


def test_a_mask_may_be_stored_in_any_order_of_axes(tmp_path):
    orders = ["".join(letters) for order in itertools.permutations(("RL", "AP", "SI"))
              for letters in itertools.product(*order)]
    raw = draw(tmp_path / "raw", patients=len(orders))
    straight = rows_of(built(tmp_path, raw, "straight", volumes=VOLUMES))
    for number, codes in enumerate(orders):
        path = raw / f"p{number}" / "seg.nii.gz"
        image = nib.load(path)
        change = nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
        nib.save(image.as_reoriented(change), path)
        assert "".join(nib.aff2axcodes(nib.load(path).affine)) == codes
    for name, row in rows_of(built(tmp_path, raw, "turned", volumes=VOLUMES)).items():
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(row, straight[name], strict=True))
    # as stored, most of them do not match voxel by voxel
    with pytest.raises(ImageError, match=r"does not have the grid|is not aligned|is rotated"):
        built(tmp_path, raw, volumes={**VOLUMES, "orientation": "file"})


@pytest.mark.parametrize("silent", ["image", "mask"])
def test_where_one_does_not_tell_its_place_nothing_is_compared(tmp_path, silent):
    raw = tmp_path / "raw"
    for number in range(6):
        units, mask = body(number)
        for name, array, fixed in (("image", units, 7.0), ("mask", mask, 0.0)):
            path = raw / f"p{number}" / f"{name}.nrrd"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = sitk.GetImageFromArray(array.transpose(2, 1, 0))
            picture.SetOrigin((fixed, 0.0, 0.0))
            sitk.WriteImage(picture, str(path))
    volumes = {**VOLUMES, "image": "{subject}/image.nrrd", "mask": "{subject}/mask.nrrd"}
    with pytest.raises(ImageError, match=r"first voxel at \(0, 0, 0\) mm, expected \(-7, 0, 0\) mm"):
        built(tmp_path, raw, volumes=volumes)
    for path in raw.rglob(f"{silent}.nrrd"):
        content = path.read_bytes()
        line = next(line for line in content.splitlines(keepends=True) if line.startswith(b"space origin"))
        path.write_bytes(content.replace(line, b""))
    assert rows_of(built(tmp_path, raw, volumes=volumes))


@pytest.mark.parametrize("fault", ["cut", "mask of another grid", "four axes"])
def test_a_bad_volume_can_be_left_out(tmp_path, fault):
    raw = draw(tmp_path / "raw")
    units, mask = body(0)
    if fault == "cut":
        path = raw / "p3" / "ct.nii.gz"
        path.write_bytes(path.read_bytes()[:300])
    elif fault == "four axes":
        save(raw / "p3" / "ct.nii.gz", np.stack([units, units], -1))
    else:
        save(raw / "p3" / "seg.nii.gz", mask[:, :, 1:])
    file = toml(tmp_path / "a.toml", **HEAD, volumes=VOLUMES)
    with pytest.raises(ImageError, match="p3/"):
        build(read_dataset(file), sources=raw, out=tmp_path / "out")
    assert "p3/" in invoke("sources", file, "--sources", raw, code=1).output
    done = run_mmtk("build", file, "--sources", raw, "--out", tmp_path / "out", "--on-error", "skip", code=1)
    assert "skipped: p3/ct.nii.gz: " in done.stdout + done.stderr
    opened = store.open(tmp_path / "out" / "lungclinic_28.h5")
    assert opened.info.partial
    people = {record["subject"].decode() for split in opened.splits for record in split.records}
    assert "p3" not in people
    assert "p2" in people
    assert "p3/ct.nii.gz" in (tmp_path / "out" / "lungclinic_findings.csv").read_text()
    (again,) = build(read_dataset(file), sources=raw, out=tmp_path / "out", on_error="skip")
    assert again.reused


def test_a_header_that_tells_too_little(tmp_path):
    raw = draw(tmp_path / "raw")
    units, mask = body(0)
    for name, array in (("ct", units), ("seg", mask)):
        nib.save(nib.Nifti1Image(array, None), raw / "p2" / f"{name}.nii.gz")
    with pytest.raises(MmtkError, match=r"does not give the anatomical axes.* volumes.orientation = .file."):
        built(tmp_path, raw, volumes=VOLUMES)
    assert built(tmp_path, raw, volumes={**VOLUMES, "orientation": "file"})


def test_organs_too_small_to_show_are_named(tmp_path):
    raw = draw(tmp_path / "raw")
    _, mask = body(0)
    mask[mask == 5] = 0
    mask[1:3, 1:3, 1:9] = 5
    save(raw / "p1" / "seg.nii.gz", mask)
    file = toml(tmp_path / "a.toml", **HEAD, volumes=VOLUMES)
    (result,) = build(read_dataset(file), sources=raw, out=tmp_path)
    assert [str(f.kind) for f in result.findings] == ["left out"]
    assert "p1/ct.nii.gz liver: 2 x 2 voxels" in result.findings[0].name
