"""One's own data beside what one would take otherwise, a thread each.

What to expect, by the bytes that must be moved at 4 to 10 GB/s and operations at 0.2 to 1 ns each. A DICOM of 2,000 x
2,000: 8 MB read, looked at for loose bits and shifted into 8 MB more, 2 to 4 ms; pydicom goes over 32 MB of double
twice, three times as slow; SimpleITK copies thrice, four times. By a table, which NumPy's indexing took 7 ms for, all
were as fast. A series of 60 slices: two headers of 0.1 ms, 0.15 ms to read and 0.05 to shift each, 25 ms and the pages
of 31 MB; SimpleITK twice that. A PNG of 16 bits: libdeflate is twice zlib, and 1 ns a byte for filters, so twice
OpenCV; as long as OpenCV decoded it a second time, 0.7. What is packed goes by its inflater, ISA-L at 300 MB/s, 1.4
times SimpleITK's zlib; with Python's it was 0.8. Plain and floating voxels are but copied, as fast as SimpleITK's, or
better; by way of double they were 0.3, and a mask of bytes, which hardly takes time to inflate, 0.06. Percentiles by
counting are 1.5 ns a pixel, NumPy's partition 2 to 10, by how many are equal. A build decodes, looks up twice and
resizes 0.8 million pixels in 3 ms; PIL's and pydicom's copies are three to four times that. A plan sorts, deals out
subjects and checks each row in 15 us; pandas and the system's look for a file are 6 to 10, so it must be slower: 0.4.

Measured, before these were mended and after, by the least of several runs: DICOM 8.7 and 4.6 ms, 2.0 where the memory
of the one before is taken again, pydicom 6.4 (less behind than expected) and SimpleITK 13.3; series 60 and 27, exact 87
and 27, SimpleITK 62; PNG 18.0 and 6.7, OpenCV 12.8; packed NRRD 86 and 86, SimpleITK 121; packed MetaImage 163 and 97,
SimpleITK 133; floats 150 and 42, SimpleITK 47; mask 116 and 7, SimpleITK 6; percentiles of noise 40 and 7; the build
884 and 568, the straightforward one 2,184; the plan 1.20 and 0.88 s, pandas 0.3 to 0.5.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pandas
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.pixels import apply_modality_lut

from mmtk.builder import build, make_plan
from mmtk.datasets.listing import find_source
from mmtk.datasets.own import read_dataset
from mmtk.imaging import percentile_window, read_series, read_values, read_volume
from tests import dicoms
from tests.own_data import TABLE, toml
from tests.peers import torchvision

CYCLES = 5
ROWS, DICOMS, SLICES = 50_000, 200, 60


def soft(shape: tuple[int, int], top: int, seed: int = 0) -> np.ndarray:
    """Soft blots with a little noise, which compress about as X-rays do."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0] // 50 + 1, shape[1] // 50 + 1), np.float32)
    blots = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1) * (top - 16)
    return (blots + rng.integers(0, 8, shape)).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    dicoms.file(folder, soft((2000, 2000), 1 << 12), name="single.dcm", RescaleSlope="1", RescaleIntercept="-1024")
    cv2.imwrite(str(folder / "deep.png"), soft((1024, 1024), 1 << 16))
    slices = np.stack([soft((512, 512), 1 << 12, number) for number in range(SLICES)])
    (folder / "series").mkdir()
    for number, pixels in enumerate(slices):
        dicoms.file(
            folder / "series", pixels, name=f"{number:03d}.dcm", RescaleSlope="1", RescaleIntercept="-1024",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2", ImagePositionPatient=[0, 0, 2.5 * number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.7, 0.7],
        )
    image = sitk.GetImageFromArray(slices.astype(np.int16) - 1024)
    sitk.WriteImage(image, str(folder / "packed.nrrd"), True)
    sitk.WriteImage(image, str(folder / "plain.mha"))
    sitk.WriteImage(image, str(folder / "packed.mha"), True)
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32) * 0.1, str(folder / "float.mha"))
    sitk.WriteImage(sitk.Cast(image > 1000, sitk.sitkUInt8), str(folder / "mask.nii.gz"))
    return folder


def by_pydicom(path: Path) -> np.ndarray:
    drawn = pydicom.dcmread(path)
    return np.asarray(apply_modality_lut(drawn.pixel_array, drawn))


def by_sitk(path: Path) -> np.ndarray:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def series_by_sitk(path: Path) -> np.ndarray:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    return np.asarray(sitk.GetArrayFromImage(reader.Execute()))


def volume_by_mmtk(path: Path) -> np.ndarray:
    """A copy, since mapped voxels are not read before they are asked for."""
    volume = read_volume(path, exact=True)
    return volume.voxels if volume.voxels.flags.writeable else np.array(volume.voxels)


READERS: dict[str, tuple[str, dict[str, Callable[[Path], np.ndarray]]]] = {
    "DICOM, 2000 x 2000 of 12 bits": ("single.dcm", {
        "mmtk": lambda path: read_values(path).pixels, "pydicom": by_pydicom, "SimpleITK": lambda p: by_sitk(p)[0],
    }),
    "DICOM series, 60 x 512 x 512": ("series", {
        "mmtk": lambda path: read_series(path).voxels, "mmtk, exact": lambda path: read_series(path, True).voxels,
        "SimpleITK": series_by_sitk,
    }),
    "PNG, 1024 x 1024 of 16 bits": ("deep.png", {
        "mmtk": lambda path: read_values(path).pixels, "OpenCV": lambda p: cv2.imread(str(p), cv2.IMREAD_UNCHANGED),
    }),
    **{f"{name}, 60 x 512 x 512": (name, {"mmtk": volume_by_mmtk, "SimpleITK": by_sitk})
       for name in ("packed.nrrd", "plain.mha", "packed.mha", "float.mha", "mask.nii.gz")},
}


@pytest.mark.parametrize(("kind", "who"), [(kind, who) for kind, (_, ways) in READERS.items() for who in ways])
def test_read(benchmark: Any, folder: Path, kind: str, who: str) -> None:
    name, ways = READERS[kind]
    benchmark.group = f"read {kind}"
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    values = benchmark.pedantic(ways[who], (folder / name,), rounds=5, warmup_rounds=1)
    cv2.setNumThreads(threads)
    assert np.array_equal(values, ways["mmtk"](folder / name))


@pytest.mark.parametrize("who", ["mmtk", "NumPy, percentiles alone"])
@pytest.mark.parametrize("kind", ["int16", "float32"])
def test_percentiles(benchmark: Any, kind: str, who: str) -> None:
    benchmark.group = f"percentile window of 2000 x 2000, {kind}"
    values = soft((2000, 2000), 1 << 14).astype(kind)
    if who == "mmtk":
        benchmark.pedantic(percentile_window, (values, 1, 99), rounds=3, warmup_rounds=1)
    else:
        benchmark.pedantic(np.percentile, (values, (1, 99)), rounds=3, warmup_rounds=1)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DICOM of 12 bits in two classes, and the dataset file."""
    folder = tmp_path_factory.mktemp("clinic")
    for kind in ("normal", "sick"):
        (folder / kind).mkdir()
    for number in range(DICOMS):
        kind = ("normal", "sick")[number % 2]
        dicoms.file(folder / kind, soft((1000, 800), 1 << 12, number), name=f"p{number:03d}.dcm")
    toml(folder / "clinic.toml", images={"files": "{class}/{subject}.dcm"}, window={"level": 2048, "width": 4096})
    return folder


def straightforward(folder: Path, out: Path) -> None:
    """What one writes first: pydicom, a window in NumPy, torchvision's crop and resize of a PIL image, h5py."""
    transforms = torchvision().transforms
    images: dict[int, list[np.ndarray]] = {28: [], 224: []}
    for path in sorted(folder.rglob("*.dcm")):
        drawn = pydicom.dcmread(path)
        values = apply_modality_lut(drawn.pixel_array, drawn)
        grey = (np.clip(values / 4096, 0, 1) * 255 + 0.5).astype(np.uint8)
        cut = transforms.CenterCrop(min(grey.shape))(Image.fromarray(grey))
        for size, made in images.items():
            made.append(np.asarray(transforms.Resize(size)(cut)))
    for size, made in images.items():
        with h5py.File(out / f"{size}.h5", "w") as file:
            file["images"] = np.stack(made)


@pytest.mark.parametrize("who", ["mmtk, 1 worker", "straightforward"])
def test_build_of_dicom(benchmark: Any, clinic: Path, tmp_path: Path, who: str) -> None:
    benchmark.group = f"build of {DICOMS} DICOM to 28 and 224 px"
    if who == "straightforward":
        def once() -> None:
            straightforward(clinic, tmp_path)
    else:
        dataset = read_dataset(clinic / "clinic.toml")

        def once() -> None:
            build(dataset, sources=clinic, out=tmp_path / "out", sizes=(28, 224), workers=1)
    benchmark.pedantic(once, rounds=1, warmup_rounds=0)
    benchmark.extra_info["images_a_second"] = DICOMS / benchmark.stats.stats.median


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of many rows; its images are empty, for a plan without headers asks for no more than names."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "images").mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "patient", "label"))
        for number in range(ROWS):
            (folder / f"images/im{number}.png").touch()
            rows.writerow((f"im{number}.png", f"P{number // 3}", ("normal", "sick")[number // 3 % 2]))
    toml(folder / "table.toml", table=TABLE)
    return folder


@pytest.mark.parametrize("who", ["mmtk", "pandas and os.path.exists"])
def test_plan_of_a_table(benchmark: Any, table: Path, who: str) -> None:
    benchmark.group = f"plan of a table of {ROWS:,} rows"

    def once() -> int:
        if who == "mmtk":
            dataset = read_dataset(table / "table.toml")
            return sum(make_plan(dataset, find_source(table, dataset), headers=False).counts.values())
        rows = pandas.read_csv(table / "labels.csv")
        return sum(os.path.exists(table / "images" / name) for name in rows["file"])

    assert benchmark.pedantic(once, rounds=1, warmup_rounds=0) == ROWS
