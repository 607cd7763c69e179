"""DICOM series read as volumes: against SimpleITK and nibabel, and refused where the slices make no volume."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import RLELossless

from mmtk.datasets.listing import open_listing
from mmtk.datasets.own import read_dataset
from mmtk.errors import ImageError
from mmtk.imaging import _series, probe_series, probe_volume, read_series, turn_volume, voxels_apart
from tests import dicoms
from tests.commands import peak_of
from tests.own_data import toml

SHAPE = (5, 18, 20)  # z, y, x
STORED = np.random.default_rng(0).integers(0, 1 << 12, SHAPE).astype(np.uint16)
AXIAL = (1, 0, 0, 0, 1, 0)


def series(folder: Path, stored=STORED, *, orientation=AXIAL, origin=(-10.0, 4.5, 100.0), step=2.5, tilt=0.0,
           changes=None, **more) -> Path:
    """A slice a file, in no order of names or numbers; `changes` are further elements of single slices."""
    rows, columns = np.array(orientation, float).reshape(2, 3)
    normal = np.cross(rows, columns)
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(1).permutation(len(stored))
    for place, pixels in enumerate(stored):
        position = np.array(origin) + place * (step * normal + tilt * columns)
        told = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT",
            "ImagePositionPatient": [f"{x:.6f}" for x in position],
            "ImageOrientationPatient": [f"{x:.10f}"[:16] for x in orientation], "PixelSpacing": ["0.75", "0.5"],
            "RescaleSlope": "1", "RescaleIntercept": "-1024", "InstanceNumber": int(names[place]),
            **more, **(changes or {}).get(place, {}),
        }
        syntax = told.pop("syntax", dicoms.EXPLICIT)
        dicoms.file(folder, pixels, syntax, f"IM{names[place]:03d}", **told)
    return folder


def by_sitk(folder: Path):
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    return SimpleITK.GetArrayFromImage(image), image


def test_slices_lie_in_the_order_of_their_positions(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    header, volume = probe_series(folder), read_series(folder)
    assert (header.shape, header.axes, header.signs) == ((20, 18, 5), "LPS", (-1, -1, 1))
    assert header.spacing == volume.spacing == (0.5, 0.75, 2.5)
    assert (header.dtype, header.slope, header.inter) == (np.dtype("<u2"), 1.0, -1024.0)
    assert (volume.axes, volume.signs, volume.voxels.dtype) == ("LPS", (-1, -1, 1), np.int16)
    np.testing.assert_array_equal(volume.voxels, STORED.astype(int) - 1024)
    theirs, image = by_sitk(folder)
    np.testing.assert_array_equal(volume.voxels, theirs)
    assert image.GetSpacing() == volume.spacing
    assert volume.origin == header.origin == volume.turned_origin == (10.0, -4.5, 100.0)
    assert image.GetOrigin() == (-10.0, 4.5, 100.0)
    np.testing.assert_array_equal(turn_volume(volume), volume.voxels.transpose(2, 1, 0))


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_a_series_and_what_simpleitk_saves_of_it_lie_in_one_place(tmp_path: Path, ending: str) -> None:
    import SimpleITK

    turned = np.deg2rad(12)
    folder = series(tmp_path / "s", orientation=(np.cos(turned), np.sin(turned), 0, -np.sin(turned), np.cos(turned), 0))
    SimpleITK.WriteImage(by_sitk(folder)[1], str(tmp_path / f"a.{ending}"))
    ours, theirs = probe_series(folder), probe_volume(tmp_path / f"a.{ending}")
    assert max(voxels_apart(ours.turned_grid, theirs.turned_grid)) < 1e-4
    elsewhere = replace(theirs, origin=tuple(np.add(theirs.origin, (0, 0, 1.25))))
    assert voxels_apart(ours.turned_grid, elsewhere.turned_grid) == pytest.approx((0.5, 0), abs=1e-4)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3), 2)))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
def test_axes_are_those_that_nibabel_names(tmp_path: Path, axes, signs) -> None:
    """Of a twin in NIfTI, turned by each library."""
    import nibabel

    rows, columns = (np.eye(3)[axis] * sign for axis, sign in zip(axes, signs, strict=True))
    folder = series(tmp_path / "s", orientation=(*rows, *columns))
    volume = read_series(folder)
    normal = np.cross(rows, columns)
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ np.stack([rows * 0.5, columns * 0.75, normal * 2.5], axis=1)
    nibabel.save(nibabel.Nifti1Image(STORED.transpose(2, 1, 0).astype(np.int16) - 1024, affine), tmp_path / "twin.nii")
    twin = nibabel.load(tmp_path / "twin.nii")
    assert volume.axes == probe_series(folder).axes == "".join(nibabel.aff2axcodes(twin.affine))
    assert (0 in volume.signs) == (axes != (0, 1))
    np.testing.assert_array_equal(volume.voxels, np.asarray(twin.dataobj).transpose(2, 1, 0))
    assert volume.origin == (10.0, -4.5, 100.0)
    assert np.transpose(volume.steps) == pytest.approx(affine[:3, :3])
    if axes == (0, 1):
        to_lps = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(twin.affine), nibabel.orientations.axcodes2ornt("LPS"))
        np.testing.assert_array_equal(turn_volume(volume), nibabel.apply_orientation(twin.dataobj, to_lps))


def test_oblique_slices_are_named_by_their_longest_directions(tmp_path: Path) -> None:
    turned = np.deg2rad(20)
    folder = series(tmp_path / "a", orientation=(1, 0, 0, 0, np.cos(turned), np.sin(turned)))
    assert read_series(folder).axes == "LPS"
    half = np.sqrt(0.5)
    folder = series(tmp_path / "b", orientation=(half, half, 0, -half, half, 0))
    assert sorted(read_series(folder).axes) in (sorted("LPS"), [])


def test_slices_that_drift_aside_step_where_they_lie(tmp_path: Path) -> None:
    volume = read_series(series(tmp_path / "s", tilt=0.05))
    assert volume.steps == (pytest.approx((-0.5, 0, 0)), pytest.approx((0, -0.75, 0)), pytest.approx((0, -0.05, 2.5)))
    assert volume.spacing == (0.5, 0.75, 2.5)


def test_each_slice_has_its_own_rescale_and_packing(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate

    from tests.test_imaging_dicom import rle

    folder = series(tmp_path / "s", changes={
        1: {"RescaleSlope": "0.5", "RescaleIntercept": "-3"}, 2: {"syntax": dicoms.IMPLICIT},
        3: {"syntax": RLELossless, "PixelData": encapsulate([rle(STORED[3])])},
    })
    wanted = STORED - 1024.0
    wanted[1] = STORED[1] * 0.5 - 3
    np.testing.assert_array_equal(read_series(folder).voxels, np.floor(wanted + 0.5))
    exact = read_series(folder, exact=True)
    assert exact.voxels.dtype == np.float32
    np.testing.assert_array_equal(exact.voxels, wanted)
    assert read_series(series(tmp_path / "t"), exact=True).voxels.dtype == np.int16


def test_units_beyond_int16_are_cut_or_kept(tmp_path: Path) -> None:
    folder = series(tmp_path / "s", RescaleSlope="20")
    wanted = STORED * 20.0 - 1024
    np.testing.assert_array_equal(read_series(folder).voxels, np.minimum(wanted, 32767))
    np.testing.assert_array_equal(read_series(folder, exact=True).voxels, wanted)


def test_what_lies_beside_a_series_is_passed_over(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    for name, content in ((".DS_Store", b"\0\1"), ("labels.csv", b"a,b"), ("DICOMDIR", b"x"), ("README", b"by hand\n"),
                          ("Thumbs.db", b"\0")):
        (folder / name).write_bytes(content)
    (folder / "old").mkdir()
    (folder / "old" / "x.dcm").write_bytes(b"")
    np.testing.assert_array_equal(read_series(folder).voxels, STORED.astype(int) - 1024)


def line(folder: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_series(folder)
    with pytest.raises(ImageError) as probed:
        probe_series(folder)
    assert str(caught.value) == str(probed.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(folder)).removeprefix("/")


OWN = "give each series its own folder"
FAULTS = [
    ({"changes": {1: {"SeriesInstanceUID": "1.2.6"}}}, f": holds several DICOM series; {OWN}"),
    ({"changes": {1: {"SeriesInstanceUID": None}}}, "holds several DICOM series"),
    ({"changes": {2: {"ImagePositionPatient": [-10, 4.5, 106]}}}, "has unevenly spaced slices; found "),
    ({"changes": {2: {"ImagePositionPatient": [-10, 4.5, 102.5]}}}, "two slices at the same position, IM0"),
    ({"changes": {2: {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}}},
     f"another orientation than the other slices, as a scout view has; {OWN}"),
    ({"changes": {2: {"PixelSpacing": [0.75, 0.6]}}}, "found 0.75 x 0.6 mm, expected 0.75 x 0.5"),
    ({"tilt": 0.6}, ": has slices shifted by 3.2 pixels, as from a tilted gantry; "),
    ({"ImageOrientationPatient": None}, ": is not a slice of a volume: it has no orientation; remove it"),
    ({"ImagePositionPatient": None, "PixelSpacing": None}, "no position and no pixel spacing"),
    ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "invalid orientation or pixel spacing"),
    ({"PixelSpacing": [0, 1]}, "invalid orientation or pixel spacing"),
    ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, ", not 6 numbers"),
    ({"PhotometricInterpretation": "MONOCHROME1"}, ": is a MONOCHROME1 slice, which some"),
    ({"NumberOfFrames": 3}, "found 3 frames, expected 1"),
]


@pytest.mark.parametrize(("how", "said"), FAULTS)
def test_slices_that_make_no_volume_are_refused(tmp_path: Path, how, said: str) -> None:
    assert said in line(series(tmp_path / "s", **how))


def test_missing_slices_and_other_sizes_are_refused(tmp_path: Path) -> None:
    folder = series(tmp_path / "s")
    middle = next(path.name for path in folder.iterdir() if b"\\105.000000" in path.read_bytes())
    kept = (folder / middle).read_bytes()
    (folder / middle).unlink()
    assert line(folder).startswith(": has unevenly spaced slices; found 5 mm between IM0")
    assert line(folder).endswith("expected 2.5 mm; check whether a slice is missing")
    (folder / middle).write_bytes(kept[:-100])
    with pytest.raises(ImageError, match="cut off"):
        probe_series(folder)
    (folder / middle).write_bytes(b"")
    assert line(folder) == f"{middle}: is an empty file, not a DICOM file; download the file again"
    for path in folder.iterdir():
        path.unlink()
    assert line(folder) == ": holds no DICOM slices; give the folder that contains the slices"
    series(folder, STORED[:1])
    assert line(folder) == ": holds a single slice; read it as a single image"
    series(folder)
    dicoms.file(folder, dicoms.noise((18, 21)), name="IM9", ImagePositionPatient=[-10, 4.5, 112.5],
                ImageOrientationPatient=list(AXIAL), PixelSpacing=[0.75, 0.5], RescaleSlope=1, RescaleIntercept=-1024)
    assert line(folder) == f"IM9: has another size than the other slices; found 21 x 18 pixels, expected 20 x 18; {OWN}"
    assert "no such file" in line(tmp_path / "none")


def test_positions_rounded_by_a_scanner_pass(tmp_path: Path) -> None:
    changes = {place: {"ImagePositionPatient": [-10, 4.5, round(100 + place * 0.7, 1) + 0.02 * (place % 2)]}
               for place in range(5)}
    assert probe_series(series(tmp_path / "s", changes=changes)).spacing[2] == pytest.approx(0.7)


def test_the_real_series_is_simpleitks(real_data: Path) -> None:
    folder = real_data / "sources/ct-standin/example_ct_dicom"
    if not folder.is_dir():
        pytest.skip(f"the real sample files have no {folder.relative_to(real_data)}")
    volume = read_series(folder)
    theirs, image = by_sitk(folder)
    np.testing.assert_array_equal(volume.voxels, theirs)
    assert image.GetSpacing() == volume.spacing == probe_series(folder).spacing
    assert volume.axes == "LPS"


def test_a_slice_changed_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = series(tmp_path)
    read, paths = _series.read_dicom, []

    def changing(path: Path):
        if not paths:
            for other in folder.iterdir():
                if other != path:
                    dicoms.file(folder, STORED[0], name=other.name, RescaleSlope="2", RescaleIntercept="0")
        paths.append(path)
        return read(path)

    monkeypatch.setattr(_series, "read_dicom", changing)
    with pytest.raises(ImageError, match="changed while it was being read"):
        read_series(folder)


@pytest.mark.parametrize("broken", [None, 0, 39])
def test_exact_series_take_their_own_memory_and_little_more(tmp_path: Path, broken: int | None) -> None:
    """Whether they turn out broken at the very end, at once or not at all."""
    stored = np.ones((40, 1024, 1024), np.uint16)
    changes = {} if broken is None else {broken: {"RescaleSlope": "0.5"}}
    series(tmp_path, stored, changes=changes)
    code = f"assert (read_series(path, exact=True).voxels.dtype == numpy.int16) is {broken is None}"
    peak, line = peak_of(code, tmp_path, first="from mmtk.imaging import read_series")
    assert line == "read"
    assert peak < (80 if broken is None else 160) + 32  # of that, a block on its way to float32 takes 16


def test_masks_may_be_folders_of_series(tmp_path: Path) -> None:
    mask = np.zeros((5, 18, 20), np.uint16)
    mask[1:4, 3:9, 4:12] = 1
    for patient in ("p1", "p2"):
        series(tmp_path / patient / "ct")
        series(tmp_path / patient / "seg", mask, RescaleIntercept="0")
    organs = {"liver": 1, "spleen": 2}
    volumes = {"image": "{subject}/ct/", "mask": "{subject}/seg/", "organs": organs, "keep": [0.0, 1.0]}
    file = toml(
        tmp_path / "organs.toml", classes=None, task="multi-class", volumes=volumes, window={"level": 50, "width": 400}
    )
    scan = read_dataset(file).scan(open_listing(tmp_path))
    cuts = [(record.file, record.cut) for record in scan.records]
    assert [(name, cut.slice) for name, cut in cuts if cut] == [
        (f"{patient}/ct", index) for patient in ("p1", "p2") for index in range(3)
    ]
    assert {cut.box for _, cut in cuts if cut} == {(4, 12, 3, 9, 1, 4)}
