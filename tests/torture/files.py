"""Mutants of what is read besides stores: ``.npz``, images, volumes, archives, result files, runs and journals.

Where the container has a checksum, what is read must equal the undisturbed; else any answer but a traceback will do.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from mmtk import store
from mmtk.builder import build
from mmtk.datasets.archives import ZipArchive, unpack_tar, unpacked_folder
from mmtk.imaging import probe, probe_volume, read_kinds, read_volume
from mmtk.imaging._headers import read_file
from mmtk.runs import RunResult, find_runs
from mmtk.scoring import evaluate_file
from tests.fuzz import InMemory
from tests.pictures import checked
from tests.test_imaging_tiff import PACKBITS, PLAIN, picture, tiff
from tests.test_imaging_volume import nifti, noise
from tests.torture.damage import damaged
from tests.torture.mutants import Attempt, Mutant, Prepare
from tests.torture.tally import LEFT, READ, SAME, SILENT

Array = np.ndarray[Any, Any]
_COLOURS = {
    "png-grey": (20, 31), "png-colour": (20, 31, 3), "png-alpha": (20, 31, 4), "jpeg-grey": (20, 31),
    "jpeg-colour": (20, 31, 3),
}
IMAGES = (*_COLOURS, "png-forged", "tiff-plain", "tiff-packed", "nii", "nii-gz")
ARCHIVES = ("zip", "zip-stored", "tar", "tar-gz")
RUN_FILES = ("csv", "result.json", "config.json", "metrics.jsonl")


def _verdict(now: object, undisturbed: object, strict: bool) -> str:
    return SAME if now == undisturbed else SILENT if strict else READ


# ------------------------------------------------------------------------------ npz


def npz_mutants(forged: bool) -> Prepare:
    """Damage to an ``.npz``; or one that is whole and holds other arrays than it should."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        source, path, out = inputs / "npz" / "breastmnist.npz", work / "breastmnist.npz", work / "out"
        content = source.read_bytes()

        def imported(file: Path) -> object:
            opened = store.open(store.import_npz(file, out, force=True))
            facts = opened.info.flag, opened.info.size, opened.info.synthetic, opened.info.partial
            return facts, [(s.labels.tobytes(), np.asarray(s.images).tobytes()) for s in opened.splits]

        undisturbed = imported(source)

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = _other_arrays(source, rng) if forged else damaged(content, rng)
            path.write_bytes(data)
            return Mutant(told, lambda: _verdict(imported(path), undisturbed, not forged))

        return attempt

    return prepare


def _other_arrays(source: Path, rng: Generator) -> tuple[bytes, str]:
    """The arrays of an ``.npz`` with one of them changed in kind, or packed in another way."""
    with np.load(source) as npz:
        arrays: dict[str, Any] = dict(npz)
        marks = npz.zip.comment
    name, way = sorted(arrays)[int(rng.integers(len(arrays)))], int(rng.integers(12))
    old = arrays[name]
    if way == 0:
        del arrays[name]
    elif way == 1:
        arrays[f"{name}_more"] = old
    else:
        arrays[name] = (
            old.astype("<i8"), old.astype("f4"), old[:-1], old[:0], np.asfortranarray(old), old.astype(object),
            old[..., None], old.reshape(-1), old + 100, old.astype("S3"),
        )[way - 2]
    file = io.BytesIO()
    (np.savez if rng.random() < 0.5 else np.savez_compressed)(file, **arrays)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = marks  # without which its counts are not looked at further
    return file.getvalue(), f"array {name}: way {way}"


# ------------------------------------------------------------------------------ images and volumes


def image_mutants(kind: str) -> Prepare:
    """Damage to an image or a volume."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        content = _image(kind)
        pixels = _voxels if kind.startswith("nii") else _pixels
        undisturbed, strict = pixels(content), kind in ("png-grey", "png-colour", "png-alpha", "nii-gz")

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = damaged(content, rng)
            data = checked(data) if kind == "png-forged" else data
            return Mutant(told, lambda: _verdict(pixels(data), undisturbed, strict))

        return attempt

    return prepare


def _image(kind: str) -> bytes:
    if kind in _COLOURS or kind == "png-forged":
        image = np.random.default_rng(1).integers(0, 256, _COLOURS.get(kind, (20, 31, 3)), np.uint8)
        content: bytes = cv2.imencode(".jpg" if kind.startswith("jpeg") else ".png", image)[1].tobytes()
        return content
    if kind.startswith("tiff"):
        return bytes(tiff(picture(17, 19, 3), 6, PACKBITS if kind == "tiff-packed" else PLAIN))
    volume: bytes = nifti(noise())
    return gzip.compress(volume, mtime=0) if kind == "nii-gz" else volume


def _pixels(content: bytes) -> list[bytes]:
    file = InMemory(content)
    probe(file)
    return [image.tobytes() for image in read_kinds(file, ("truncated", "rounded", "colour"))]


def _voxels(content: bytes) -> tuple[object, ...]:
    file = InMemory(content)
    if probe_volume(file).bytes > 1 << 24:
        return ("too large",)
    volume = read_volume(file)
    return volume.voxels.shape, volume.voxels.tobytes(), volume.signs


# ------------------------------------------------------------------------------ archives


def archive_mutants(kind: str) -> Prepare:
    """Damage to a provider's archive."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        content = _archive(kind)
        path = work / f"source.{kind.removesuffix('-stored').replace('-', '.')}"
        look = _in_zip if kind.startswith("zip") else _in_tar
        path.write_bytes(content)
        undisturbed = look(path)
        shutil.rmtree(unpacked_folder(path), ignore_errors=True)

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = damaged(content, rng)
            path.write_bytes(data)

            def judge() -> str:
                try:
                    return _verdict(look(path), undisturbed, kind != "tar")
                finally:
                    shutil.rmtree(unpacked_folder(path), ignore_errors=True)
                    if any(work.glob(".source*")):
                        raise AssertionError("left over")

            return Mutant(told, judge)

        return attempt

    return prepare


def _archive(kind: str) -> bytes:
    rng, file = np.random.default_rng(2), io.BytesIO()
    members = {f"folder/{n}.png": _image("png-grey" if n % 2 else "png-colour") for n in range(4)}
    members["table.csv"] = b"name,label\n" + b"".join(b"%d,%d\n" % (n, rng.integers(9)) for n in range(40))
    if kind.startswith("zip"):
        packing = zipfile.ZIP_STORED if kind == "zip-stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(file, "w", packing) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name), data, packing)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(file.getvalue(), mtime=0) if kind == "tar-gz" else file.getvalue()


def _in_zip(path: Path) -> object:
    """Bytes of each member; the checksum of a member is compared at their end."""
    archive = ZipArchive(path)
    try:
        for name in archive.names:
            if name.endswith(".png"):
                read_kinds(archive.member(name), ("truncated", "colour"))
        return {name: read_file(archive.member(name)) for name in archive.names}
    finally:
        archive.file.close()


def _in_tar(path: Path) -> object:
    folder = unpack_tar(path)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ------------------------------------------------------------------------------ runs and journals


def run_mutants(ending: str) -> Prepare:
    """Damage to a file of a finished run: refused, or the figures are those of the undisturbed run."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        runs, stores = work / "runs", inputs / "stores"
        shutil.copytree(inputs / "runs", runs, dirs_exist_ok=True)
        path = next(file for file in sorted(runs.rglob(f"*{ending}")) if "train" not in file.name)
        content = path.read_bytes()

        def look() -> object:
            found, unfinished = find_runs(runs, stores)
            if ending == "csv" and "_test_" in path.name:
                evaluate_file(path, stores)
            return {run.folder: (_figures(run.result), run.result.images) for run in found}, unfinished

        undisturbed = look()

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = damaged(content, rng)
            path.write_bytes(data)
            return Mutant(f"{path.name}: {told}", lambda: _verdict(look(), undisturbed, True))

        return attempt

    return prepare


def _figures(result: RunResult) -> list[tuple[str, float, float]]:
    """Figures to the five places that count: another machine may compute other last ones."""
    return [(name, round(auc, 5), round(acc, 5)) for name, (auc, acc) in sorted(result.metrics.items())]


def result_mutants() -> Prepare:
    """Damage to a result file that is scored by itself: its name tells figures, the rest is numbers."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        source = next((inputs / "runs").rglob("*_test_*.csv"))
        path, content = work / source.name, source.read_bytes()
        undisturbed = evaluate_file(source, inputs / "stores").metrics

        def judge() -> str:
            scored = evaluate_file(path, inputs / "stores")
            return SAME if scored.metrics == undisturbed else READ if scored.agrees else "reported"

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = damaged(content, rng)
            path.write_bytes(data)
            return Mutant(told, judge)

        return attempt

    return prepare


def journal_mutants() -> Prepare:
    """Damage to the journal of a build that was killed: the next one gives the undisturbed bytes or refuses."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        half, out = inputs / "half", work / "out"
        (journal,) = half.rglob("journal")
        content, where = journal.read_bytes(), out / journal.relative_to(half)
        undisturbed = (inputs / "stores" / "breastmnist_28.h5").read_bytes()

        def attempt(number: int, rng: Generator) -> Mutant:
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(half, out)
            data, told = _other_line(content, rng) if number % 3 == 0 else damaged(content, rng)
            where.write_bytes(data)

            def judge() -> str:
                (built,) = build(
                    "breastmnist", sources=inputs / "sources", out=out, allow_partial=True, workers=1
                )
                if sorted(path.name for path in out.iterdir()) != [built.path.name]:
                    return LEFT
                return SAME if built.path.read_bytes() == undisturbed else SILENT

            return Mutant(told, judge)

        return attempt

    return prepare


def _other_line(content: bytes, rng: Generator) -> tuple[bytes, str]:
    """A journal with a line that is JSON and should not be there."""
    lines = content.splitlines()
    choices: list[object] = [
        {"done": [0, 1, 2]}, {"done": [2]}, {"done": [99]}, {"done": [-1]}, {"done": "0"}, {"done": None}, {},
        [], 1, None, {"done": [1.5]}, {"done": [[0]]},
    ]
    more = json.dumps(choices[int(rng.integers(len(choices)))]).encode()
    at = int(rng.integers(len(lines) + 1))
    lines.insert(at, more)
    return b"\n".join(lines) + b"\n", f"line {at} more: {more.decode()}"
