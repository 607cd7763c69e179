"""Builds: the right pixels in the right rows, the same bytes whatever happens, and clear words for bad input."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import mmtk
from mmtk.builder import build, make_plan, recipe, work
from mmtk.datasets.listing import open_listing
from mmtk.datasets.maps import official_map
from mmtk.errors import ArgumentError, ImageError, MmtkError, SourceError, StoreError
from mmtk.phantom import write_phantom
from tests import reference
from tests.commands import environment, run_mmtk, run_python
from tests.pictures import END, chunk, png
from tests.small_stores import digest_of, digests

FAMILIES = ("breastmnist", "pneumoniamnist", "dermamnist")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantoms")
    for flag in FAMILIES:
        write_phantom(flag, out, scale=0.001)
    return out


@pytest.fixture
def derma(phantoms, tmp_path) -> Path:
    """A source of 98 images that a test may spoil."""
    shutil.copytree(phantoms / "dermamnist", tmp_path / "sources" / "dermamnist")
    return tmp_path / "sources"


def slow_pixels(path: Path, flag: str, size: int) -> np.ndarray:
    """The recipe in slow, plain steps: OpenCV decodes, the reference crops and resizes, OpenCV goes through JPEG 75.

    Above 28 px grey is the rounded luma of what OpenCV decodes to RGB, and there is no JPEG.
    """
    if size <= 28 and flag != "dermamnist":
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    else:
        image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        image = image if flag == "dermamnist" else reference.rounded_grey(image)
    small = reference.resize(reference.crop(image), (size, size))
    if flag == "breastmnist" or size > 28:
        return small
    stored = cv2.imencode(".jpg", small[..., ::-1] if small.ndim == 3 else small, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    back = cv2.imdecode(stored, cv2.IMREAD_COLOR if small.ndim == 3 else cv2.IMREAD_GRAYSCALE)
    return back[..., ::-1] if small.ndim == 3 else back


@pytest.mark.parametrize("flag", FAMILIES)
def test_rows_equal_the_slow_pipeline_and_each_image_is_decoded_once(phantoms, tmp_path, monkeypatch, flag):
    decoded = []
    monkeypatch.setattr(recipe, "read_kinds", lambda path, kinds: decoded.append(path) or read(path, kinds))
    read = mmtk.imaging.read_kinds
    results = build(flag, sources=phantoms, out=tmp_path, sizes=(40, 28))
    assert [r.size for r in results] == [28, 40]
    assert len(decoded) == len(set(decoded)) == sum(results[0].counts.values())
    assert all(r.synthetic and not r.partial for r in results)
    plan = make_plan(mmtk.get_dataset(flag), open_listing(phantoms / flag))
    for result in results:
        opened = mmtk.open(result.path)
        for split in opened.splits:
            rows = plan.rows[split.name]
            assert [r.record.source.encode() for r in rows] == split.records["source"].tolist()
            assert [list(r.record.labels) for r in rows] == split.labels.tolist()
            for at in random.Random(0).sample(range(len(rows)), min(len(rows), 6)):
                path = phantoms / flag / rows[at].record.file
                assert np.array_equal(split.images[at], slow_pixels(path, flag, result.size)), path
                height, width = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[:2]
                assert split.records[at][["height", "width", "side"]].tolist() == (height, width, min(height, width))


TINY = """
from pathlib import Path
from mmtk.builder import make_plan
from mmtk.datasets import get_dataset
from mmtk.datasets.listing import Listing
names = [f"{set}/{kind}/{kind}-{letter * 8}.tif" for set in ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")
         for kind in ("ADI", "MUS") for letter in "ABCDEFGHIJK"]
plan = make_plan(get_dataset("pathmnist"), Listing(Path("nowhere"), tuple(names)), headers=False, allow_partial=True)
print(plan.info(28).plan_hash)
"""


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_hash_of_a_plan_is_the_same_in_every_process_and_version(seed):
    """A change here makes everybody's builds start over: none but one of what a store holds may."""
    done = run_python("-c", TINY, env={"PYTHONHASHSEED": seed})
    assert done.stdout.split() == ["fa5c150879e1ae0b43b5241491ec6f94dba860996b1bd94e389360df00bef4a4"], done.stderr


def test_the_hash_of_a_plan_is_of_facts_and_not_of_how_they_are_written(phantoms):
    plan = make_plan(mmtk.get_dataset("breastmnist"), open_listing(phantoms / "breastmnist"))
    hashed = plan.info(28).plan_hash
    assert plan.basis == {"rule": "floor_cut", "first": 0.7, "second": 0.8}
    assert replace(plan, membership="in other words").info(28).plan_hash == hashed
    first, *others = plan.rows["train"]
    changed = (
        replace(plan, basis={**plan.basis, "seed": 1}), replace(plan, edition="2024"), replace(plan, pixels="clean"),
        replace(plan, split="grouped"), replace(plan, synthetic=False), replace(plan, partial=True),
        replace(plan, rows={**plan.rows, "train": (*others, first)}),
        replace(plan, rows={**plan.rows, "train": tuple(others), "val": (first, *plan.rows["val"])}),
    )
    hashes = {hashed, plan.info(64).plan_hash, *(other.info(28).plan_hash for other in changed)}
    assert len(hashes) == len(changed) + 2


def test_a_dataset_of_another_edition_is_built_without_naming_it(phantoms, tmp_path):
    breast = mmtk.get_dataset("breastmnist")
    own = replace(breast, counts={"2026": breast.counts["2020"]}, recipe=breast.recipe_for("clean", 28), md5={})
    (result,) = build(own, sources=phantoms, out=tmp_path)
    assert mmtk.open(result.path).info.edition == "2026"


def test_clean_pixels_leave_out_the_round_trip(phantoms, tmp_path):
    (result,) = build("pneumoniamnist", sources=phantoms, out=tmp_path, pixels="clean")
    split = mmtk.open(result.path).test
    image = cv2.imread(str(next(phantoms.rglob(Path(split.records["source"][0].decode()).name))), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(split.images[0], reference.resize(reference.crop(image), (28, 28)))


def test_real_breast_images_equal_their_official_rows(real_data, tmp_path):
    sources = real_data / "sources" / "busi"
    (result,) = build("breastmnist", sources=sources, out=tmp_path, allow_partial=True)
    official = np.load(real_data / "npz" / "breastmnist.npz")
    equal = 0
    for split in mmtk.open(result.path).splits:
        rows = [row.source.encode() for row in official_map("breastmnist").rows[split.name]]
        for image, label, record in zip(split.images, split.labels, split.records, strict=True):
            row = rows.index(record["source"])
            assert np.array_equal(image, official[f"{split.name}_images"][row])
            assert np.array_equal(label, official[f"{split.name}_labels"][row])
            equal += 1
    assert equal == 46
    assert result.partial


def test_real_chest_x_rays_are_found_in_the_official_file(real_data, tmp_path):
    sources = real_data / "sources" / "kermany-cxr"
    (result,) = build("pneumoniamnist", sources=sources, out=tmp_path, allow_partial=True)
    official = np.load(real_data / "npz" / "pneumoniamnist.npz")
    known = {image.tobytes() for split in ("train", "val", "test") for image in official[f"{split}_images"]}
    images = [image for split in mmtk.open(result.path).splits for image in split.images]
    assert sum(image.tobytes() in known for image in images) == len(images) == 14


def test_counts_of_the_real_lists(real_data, tmp_path):
    def counts(flag, listing):
        return tuple(make_plan(mmtk.get_dataset(flag), open_listing(listing), headers=False).counts.values())

    assert counts("pneumoniamnist", real_data / "sources" / "kermany-cxr" / "filelist_kaggle.txt") == (4708, 524, 624)
    shutil.copy(real_data / "sources" / "ham10000" / "HAM10000_metadata.csv", tmp_path)
    with (tmp_path / "HAM10000_metadata.csv").open() as file:
        names = [f"HAM10000_images_part_1/{row['image_id']}.jpg" for row in csv.DictReader(file)]
    (tmp_path / "names.txt").write_text("\n".join(["HAM10000_metadata.csv", *names]))
    assert counts("dermamnist", tmp_path / "names.txt") == (7007, 1003, 2005)
    (tmp_path / "busi.txt").write_text("\n".join(f"D/{name}" for name in official_map("breastmnist").labels))
    assert counts("breastmnist", tmp_path / "busi.txt") == (546, 78, 156)


@pytest.fixture(scope="session")
def undisturbed(phantoms, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    start = time.perf_counter()
    options = ["--out", out, "--size", 28, "--size", 224, "--workers", 1]
    done = run_mmtk("build", "dermamnist", "--sources", phantoms, *options)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    return digests(out), seconds


@pytest.mark.parametrize("workers", [2, 5])
def test_same_bytes_for_any_number_of_workers(phantoms, undisturbed, tmp_path, workers):
    results = build("dermamnist", sources=phantoms, out=tmp_path, sizes=(224, 28), workers=workers)
    assert {r.path.name: digest_of(r.path) for r in results} == undisturbed[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dermamnist_224.h5", "dermamnist_28.h5"]


@pytest.mark.slow
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(phantoms, undisturbed, tmp_path):
    expected, seconds = undisturbed
    draw = random.Random(1)
    command = [sys.executable, "-m", "mmtk", "build", "dermamnist", "--sources", str(phantoms), "--out", str(tmp_path),
               "--size", "28", "--size", "224", "--workers", "1"]
    killed = 0
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        time.sleep(draw.uniform(0.1, 0.95) * seconds)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        for path in tmp_path.glob("*.h5"):
            assert digest_of(path) == expected[path.name], "a store under its final name that is not whole"
        if draw.random() < 0.5:  # start over from nothing now and then, so that early moments come up again
            shutil.rmtree(tmp_path)
            tmp_path.mkdir()
    assert killed >= 10
    assert run_python(*command[1:]).returncode == 0
    assert digests(tmp_path) == expected


def test_a_stopped_build_goes_on_without_doing_anything_twice(derma, undisturbed, tmp_path, monkeypatch):
    out, read, decoded = tmp_path / "out", mmtk.imaging.read_kinds, []

    def stop_later(path, kinds):
        decoded.append(path)
        if len(decoded) == 70:
            raise KeyboardInterrupt
        return read(path, kinds)

    monkeypatch.setattr(recipe, "read_kinds", stop_later)
    with pytest.raises(KeyboardInterrupt):
        build("dermamnist", sources=derma, out=out, sizes=(28, 224), workers=1)
    assert not list(out.glob("*.h5"))
    results = build("dermamnist", sources=derma, out=out, sizes=(28, 224), workers=1)
    assert {r.path.name: digest_of(r.path) for r in results} == undisturbed[0]
    total = sum(results[0].counts.values())
    assert len(decoded) <= 70 + total - 2 * work.BLOCK, "finished units were done again"


def interrupt_after(monkeypatch, images: int) -> None:
    """Let the next build be interrupted, as by Ctrl-C, once it has decoded some images; then decode as ever."""
    read, left = mmtk.imaging.read_kinds, [images]

    def stop(path, kinds):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return read(path, kinds)

    monkeypatch.setattr(recipe, "read_kinds", stop)


def test_an_image_mended_after_a_skipping_build_was_stopped_is_not_left_out(derma, undisturbed, tmp_path, monkeypatch):
    first = make_plan(mmtk.get_dataset("dermamnist"), open_listing(derma / "dermamnist")).rows["train"][0].record.file
    bad = derma / "dermamnist" / first
    good = bad.read_bytes()
    warn(bad)
    interrupt_after(monkeypatch, 60)
    everything = {"sources": derma, "out": tmp_path / "out", "sizes": (28, 224), "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        build("dermamnist", **everything, on_error="skip")
    bad.write_bytes(good)
    results = build("dermamnist", **everything)
    assert {r.path.name: digest_of(r.path) for r in results} == undisturbed[0]


def test_ctrl_c_exits_130_and_keeps_what_is_done(phantoms, tmp_path):
    code = (
        "import os, signal\n"
        "from mmtk.builder import recipe\n"
        "from mmtk.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore\n"
        "read, left = recipe.read_kinds, [60]\n"
        "def stop(path, kinds):\n"
        "    left[0] -= 1\n"
        "    left[0] or os.kill(os.getpid(), signal.SIGINT)\n"
        "    return read(path, kinds)\n"
        "recipe.read_kinds = stop\n"
        "main()\n"
    )
    done = run_python("-c", code, "build", "dermamnist", "--sources", phantoms, "--out", tmp_path, code=130)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".dermamnist.build"]
    noted = [json.loads(line) for line in (tmp_path / ".dermamnist.build" / "journal").read_text().splitlines()[1:]]
    assert sum(len(line["done"]) for line in noted) >= 2


def test_a_store_of_the_same_plan_is_left_alone_another_needs_force(phantoms, tmp_path):
    (first,) = build("breastmnist", sources=phantoms, out=tmp_path)
    before = first.path.stat().st_mtime_ns
    (again,) = build("breastmnist", sources=phantoms, out=tmp_path)
    assert again.reused
    assert first.path.stat().st_mtime_ns == before
    write_phantom("breastmnist", tmp_path / "larger", scale=0.06)
    with pytest.raises(StoreError, match="--force"):
        build("breastmnist", sources=tmp_path / "larger", out=tmp_path)
    (forced,) = build("breastmnist", sources=tmp_path / "larger", out=tmp_path, force=True)
    assert not forced.reused
    first.path.write_bytes(b"")
    with pytest.raises(StoreError, match="--force"):
        build("breastmnist", sources=phantoms, out=tmp_path)


def test_a_store_that_appears_while_a_build_starts_is_not_replaced(phantoms, tmp_path, monkeypatch):
    check, before = shutil.disk_usage, []

    def another_build_ends(path):
        if not before:
            before.append(None)
            before[0] = digest_of(build("pneumoniamnist", sources=phantoms, out=tmp_path, pixels="clean")[0].path)
        return check(path)

    monkeypatch.setattr(shutil, "disk_usage", another_build_ends)
    with pytest.raises(StoreError, match="--force"):
        build("pneumoniamnist", sources=phantoms, out=tmp_path)
    assert [digest_of(tmp_path / "pneumoniamnist_28.h5")] == before


def test_two_builds_at_once(phantoms, tmp_path, monkeypatch):
    read, second = mmtk.imaging.read_kinds, []

    def start_another(path, kinds):
        if not second:
            second.append(run_mmtk("build", "breastmnist", "--sources", phantoms, "--out", tmp_path))
        return read(path, kinds)

    monkeypatch.setattr(recipe, "read_kinds", start_another)
    (result,) = build("breastmnist", sources=phantoms, out=tmp_path, workers=1)
    assert second[0].returncode == 2
    assert "another build is running" in second[0].stderr
    assert "Traceback" not in second[0].stderr
    assert mmtk.store.verify(result.path) == []


# ------------------------------------------------------------------- bad input


HOLLOW = (chunk(b"IDAT", zlib.compress(b"\0" * 100)), END)


def spoil_with_pillow(mode: str, format: str):
    def spoil(path: Path) -> None:
        with Image.open(path) as image:
            image.load()
        (image.convert("L").convert(mode) if mode == "P" else image.convert(mode)).save(path, format)

    return spoil


def warn(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\x01\xff\x02" + data[len(data) // 2 + 4 :])


BAD = {
    "truncated": lambda p: os.truncate(p, p.stat().st_size // 2),
    "zero bytes": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("this is no image"),
    "a decoder's warning": warn,
    "16 bits": lambda p: cv2.imwrite(str(p.with_suffix(".png")), np.zeros((50, 60), np.uint16))
    and p.with_suffix(".png").rename(p),
    "palette": spoil_with_pillow("P", "PNG"),
    "CMYK": spoil_with_pillow("CMYK", "JPEG"),
    "one pixel": lambda p: p.write_bytes(png(1, 1, 2, *HOLLOW)),
    "30,000 x 30,000": lambda p: p.write_bytes(png(30_000, 30_000, 2, *HOLLOW)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_stops_the_build_or_is_left_out(derma, tmp_path, kind):
    images = sorted(derma.rglob("*.jpg"))
    bad = images[40]
    BAD[kind](bad)
    out = tmp_path / "out"
    stopped = run_mmtk("build", "dermamnist", "--sources", derma, "--out", out)
    assert stopped.returncode == 2, stopped
    (line,) = [line for line in stopped.stderr.splitlines() if line.startswith("mmtk: error:")]
    assert str(bad) in line
    assert "Traceback" not in stopped.stderr
    assert not list(out.glob("*.h5"))

    (result,) = build("dermamnist", sources=derma, out=out, on_error="skip")
    assert result.partial
    assert sum(result.counts.values()) == len(images) - 1
    assert [f.name for f in result.findings if f.kind == "bad"] == [bad.stem]
    with (out / "dermamnist_findings.csv").open() as file:
        assert [row["source"] for row in csv.DictReader(file)] == [bad.stem]
    assert not list(out.glob(".*"))
    opened = mmtk.open(result.path)
    assert mmtk.store.verify(result.path) == []
    for split in opened.splits:
        assert bad.stem.encode() not in split.records["source"]
        for at in range(0, len(split), 9):
            path = next(derma.rglob(f"{split.records['source'][at].decode()}.jpg"))
            assert np.array_equal(split.images[at], slow_pixels(path, "dermamnist", 28))


def test_skipping_exits_1_and_names_every_bad_image(derma, tmp_path):
    images = sorted(derma.rglob("*.jpg"))
    for path in (images[3], images[90]):
        warn(path)
    images[7].write_bytes(b"")
    done = run_mmtk("build", "dermamnist", "--sources", derma, "--out", tmp_path / "out", "--on-error", "skip")
    assert done.returncode == 1, done.stderr
    assert [path.stem in done.stderr for path in (images[3], images[7], images[90])] == [True] * 3
    assert "PARTIAL" in done.stdout


def test_findings_are_the_same_in_whatever_order_images_are_read(derma, tmp_path, monkeypatch):
    images = sorted(derma.rglob("*.jpg"))
    for path in (images[3], images[50], images[90]):
        warn(path)
    bounded = work._bounded
    found = []
    for order in (list, lambda results: list(results)[::-1]):
        monkeypatch.setattr(work, "_bounded", lambda *args, order=order: order(bounded(*args)))
        out = tmp_path / str(len(found))
        (result,) = build("dermamnist", sources=derma, out=out, on_error="skip")
        found.append(([path.read_bytes() for path in sorted(out.iterdir())], result.findings))
    assert found[0] == found[1]


def test_skipping_again_leaves_the_store_alone_until_the_image_is_mended(derma, tmp_path):
    bad = sorted(derma.rglob("*.jpg"))[40]
    good = bad.read_bytes()
    warn(bad)
    skipping = {"sources": derma, "out": tmp_path / "out", "on_error": "skip"}
    (first,) = build("dermamnist", **skipping)
    (again, larger) = build("dermamnist", **skipping, sizes=(28, 40))
    assert again.reused
    assert not larger.reused
    assert again.counts == first.counts == larger.counts
    assert [f.name for f in again.findings if f.kind == "bad"] == [bad.stem]
    assert larger.partial
    bad.write_bytes(good)
    with pytest.raises(StoreError, match="--force"):
        build("dermamnist", **skipping)
    (mended,) = build("dermamnist", **skipping, force=True)
    assert sum(mended.counts.values()) == sum(first.counts.values()) + 1
    assert not mended.partial
    assert not (tmp_path / "out" / "dermamnist_findings.csv").exists()


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\x00", b""])
def test_a_findings_file_of_another_make_is_no_obstacle(derma, tmp_path, content):
    (tmp_path / "dermamnist_findings.csv").write_bytes(content)
    (result,) = build("dermamnist", sources=derma, out=tmp_path, on_error="skip")
    assert not result.partial


def test_nothing_but_bad_images(derma, tmp_path):
    for path in derma.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(SourceError, match="no usable image"):
        build("dermamnist", sources=derma, out=tmp_path / "out", on_error="skip")


def test_an_image_changed_after_planning_is_an_error(derma, tmp_path, monkeypatch):
    victim = sorted(derma.rglob("*.jpg"))[-1]
    plan_first = make_plan

    def plan_then_change(*args, **options):
        plan = plan_first(*args, **options)
        cv2.imwrite(str(victim), np.zeros((100, 120, 3), np.uint8))
        return plan

    monkeypatch.setattr("mmtk.builder._build.make_plan", plan_then_change)
    with pytest.raises(ImageError, match="as planned"):
        build("dermamnist", sources=derma, out=tmp_path / "out")


def edit_csv(folder: Path, change) -> None:
    path = next(folder.rglob("*metadata.csv"))
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace("lesion_id", "lesion", 1), "lesion_id"),
        (lambda text: text.replace(",nv,", ",xx,", 1), "xx"),
        (lambda text: text + text.splitlines()[1] + "\n", "ISIC_"),
    ],
    ids=["missing column", "unknown class", "listed twice"],
)
def test_a_bad_csv_is_one_line(derma, tmp_path, change, named):
    edit_csv(derma, change)
    done = run_mmtk("build", "dermamnist", "--sources", derma, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr
    assert "metadata.csv" in done.stderr


def test_an_incomplete_source_needs_a_word(derma, tmp_path):
    sorted(derma.rglob("*.jpg"))[5].unlink()
    with pytest.raises(SourceError, match="--allow-partial"):
        build("dermamnist", sources=derma, out=tmp_path / "out")
    (result,) = build("dermamnist", sources=derma, out=tmp_path / "out", allow_partial=True)
    assert result.partial
    assert mmtk.open(result.path).info.partial


def test_a_full_disk_is_said_before_work_starts(phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(StoreError, match="not enough disk space"):
        build("breastmnist", sources=phantoms, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_space_that_a_stopped_build_has_reserved_counts_as_free(phantoms, tmp_path, monkeypatch):
    interrupt_after(monkeypatch, 60)
    with pytest.raises(KeyboardInterrupt):
        build("dermamnist", sources=phantoms, out=tmp_path, sizes=(224,))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 30, 1 << 30, 2 << 20))
    (result,) = build("dermamnist", sources=phantoms, out=tmp_path, sizes=(224,))
    assert mmtk.store.verify(result.path) == []


def test_a_disk_that_fills_up_leaves_no_store(phantoms, tmp_path):
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "sys.argv = ['mmtk', 'build', 'dermamnist', '--sources', sys.argv[1], '--out', sys.argv[2]]\n"
        "from mmtk.cli import main\nmain()\n"
    )
    done = run_python("-c", code, phantoms, tmp_path / "out", code=2)
    assert "file too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.h5"))


def test_an_output_that_is_no_folder(phantoms, tmp_path):
    (tmp_path / "out").write_text("a file")
    done = run_mmtk("build", "breastmnist", "--sources", phantoms, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert str(tmp_path / "out") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_output(phantoms, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    if os.access(out, os.W_OK):  # root may write everywhere but where the kernel itself lists its objects
        out = Path("/sys/kernel/mmtk")
    done = run_mmtk("build", "breastmnist", "--sources", phantoms, "--out", out)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("mmtk: error:")]) == 1
    assert str(out) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [{"sizes": ()}, {"sizes": (0,)}, {"sizes": (9999,)}, {"workers": 0}, {"edition": "1999"}, {"pixels": "pretty"},
     {"on_error": "ignore"}],
)
def test_bad_arguments(phantoms, tmp_path, options):
    with pytest.raises(ArgumentError):
        build("breastmnist", sources=phantoms, out=tmp_path, **options)


@pytest.mark.parametrize(
    "arguments",
    [[], ["breastmnist", "--all"], ["breastmnist", "--listing", "names.txt", "--out", "o", "--sources", "s"],
     ["breastmnist", "--out", "o"], ["breastmnist", "--sources", "s"], ["chestmnist", "--sources", ".", "--out", "o"]],
)
def test_bad_usage_exits_2(tmp_path, arguments):
    done = run_mmtk("build", *arguments, cwd=tmp_path, env={"MMTK_SOURCES": "", "MMTK_STORES": ""})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_an_absent_source_is_said_before_anything_is_built(phantoms, tmp_path):
    sources, out = tmp_path / "sources", tmp_path / "out"
    shutil.copytree(phantoms / "dermamnist", sources / "dermamnist")
    with pytest.raises(SourceError, match="BUSI"):
        build(["dermamnist", "breastmnist"], sources=sources, out=out)
    done = run_mmtk("build", "--all", "--sources", sources, "--out", out)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--allow-partial" in line
    assert [flag in line for flag in FAMILIES] == [True, True, False]
    assert not out.exists()
    done = run_mmtk("build", "--all", "--sources", sources, "--out", out, "--allow-partial")
    assert done.returncode == 0, done.stderr
    assert [flag in done.stderr for flag in FAMILIES[:2]] == [True, True]
    assert [path.name for path in out.iterdir()] == ["dermamnist_28.h5"]
    (tmp_path / "empty").mkdir()
    assert run_mmtk("build", "--all", "--sources", tmp_path / "empty", "--out", out, "--allow-partial").returncode == 2


def test_a_build_says_counts_marks_speed_and_findings(phantoms, tmp_path):
    done = run_mmtk("build", "pneumoniamnist", "--sources", phantoms, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    store, speed, findings = done.stdout.splitlines()
    assert store.startswith(str(tmp_path / "pneumoniamnist_28.h5"))
    assert "of 4,708" in store
    assert "(SYNTHETIC)" in store
    assert re.fullmatch(r"\d+ images in [\d.]+ s, \d+ images/s; worker time: (\w[\w ]* \d+ %(, )?)+", speed)
    assert "decode" in speed
    assert "junk" in findings


@pytest.mark.parametrize("workers", [1, 3])
def test_a_result_says_where_the_time_went(phantoms, tmp_path, workers):
    start = time.perf_counter()
    small, large = build("pneumoniamnist", sources=phantoms, out=tmp_path, sizes=(28, 64), workers=workers)
    wall = time.perf_counter() - start
    assert small.seconds is large.seconds
    stages = {"plan", "decode", "resize", "round trip", "write", "sync", "finish", "waiting"}
    assert set(small.seconds) == stages
    assert {stage for stage, seconds in small.seconds.items() if seconds > 0} >= stages - {"sync", "waiting"}
    assert 0 < small.seconds["decode"] < sum(small.seconds.values()) <= 1.05 * workers * wall


def test_plan_only_prints_counts_and_writes_nothing(phantoms, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"D/{name}" for name in official_map("breastmnist").labels))
    for arguments, train in ((["--listing", tmp_path / "names.txt"], 546), (["--sources", phantoms], 18)):
        done = run_mmtk("build", "breastmnist", *arguments, "--plan-only", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"breastmnist: train {train} of 546, ")
    assert [path.name for path in tmp_path.iterdir()] == ["names.txt"]


def test_errors_are_mmtk_errors():
    assert issubclass(ImageError, SourceError)
    assert issubclass(SourceError, MmtkError)
