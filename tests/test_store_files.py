"""Stores: what is written is read, from one mapped array, and whatever is wrong with a file is said in one line."""

from __future__ import annotations

import json
import mmap
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.errors import StoreError
from tests.commands import run_python
from tests.small_stores import MULTILABEL, digest_of, write_small_store


def is_mapped(images: np.ndarray) -> bool:
    owner = images
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)


@settings(max_examples=30)
@given(
    counts=st.tuples(*[st.integers(0, 40)] * 3), size=st.integers(1, 40), channels=st.sampled_from([1, 3]),
    classes=st.integers(2, 14), task=st.sampled_from(["multi-class", MULTILABEL]), data=st.data(),
)
def test_what_is_written_is_read(tmp_path_factory, counts, size, channels, classes, task, data):
    folder = tmp_path_factory.mktemp("store")
    kind = {"task": task, "classes": classes, "channels": channels, "size": size}
    path = write_small_store(folder / "a.h5", counts, **kind)
    again = write_small_store(folder / "elsewhere" / "b.h5", counts, **kind)
    opened = store.open(path)
    rng = np.random.default_rng(0)
    for split, n in zip(opened.splits, counts, strict=True):
        shape = (n, size, size) if channels == 1 else (n, size, size, 3)
        expected = rng.integers(0, 256, shape, np.uint8)
        [rng.permutation(n) for _ in range(opened.info.labels)]
        assert np.array_equal(split.images, expected)
        assert split.labels.shape == (n, opened.info.labels)
        assert len(split) == n == len(split.records)
        if n:
            assert is_mapped(split.images)
    assert store.verify(path) == []
    assert digest_of(path) == digest_of(again)
    assert opened.content_digest() == store.open(again).content_digest()


def test_large_chunks_lie_back_to_back_and_end_in_zeros(tmp_path):
    path = write_small_store(tmp_path / "a.h5", (1500, 700, 0), size=28)
    layout = store.read_layout(path)
    with h5py.File(path) as file:
        assert file["train/images"].chunks == (524288 // 784, 28, 28)
        assert file["val/images"].chunks == (524288 // 784, 28, 28)
        assert file["test/images"].chunks is None
        assert file["train/images"].id.get_num_chunks() == 3
    region = layout.regions["val/images"]
    data = path.read_bytes()
    assert data[8] == 3  # HDF5's superblock since 1.10
    assert set(data[region.end : region.offset + 2 * (524288 // 784) * 784]) == {0}


def test_writing_into_images_changes_nothing_else(tmp_path):
    path = write_small_store(tmp_path / "a.h5")
    before, split = digest_of(path), store.open(path).train
    split.images[:] = 7
    assert digest_of(path) == before
    assert not np.array_equal(store.open(path).train.images, split.images)


def test_an_open_store_outlives_its_file(tmp_path):
    path = write_small_store(tmp_path / "a.h5")
    opened = store.open(path)
    digest = opened.content_digest()
    write_small_store(path, seed=1)
    assert opened.content_digest() == digest
    path.unlink()
    assert opened.content_digest() == digest


def test_digest_tells_contents_apart(tmp_path):
    digests = {store.open(write_small_store(tmp_path / f"{seed}.h5", seed=seed)).content_digest() for seed in range(3)}
    assert len(digests) == 3


def test_a_compressed_copy_is_read_too(tmp_path):
    path = write_small_store(tmp_path / "a.h5", (50, 5, 0))
    packed = tmp_path / "packed.h5"
    shutil.copy(path, packed)
    with h5py.File(packed, "r+") as file:
        images = file["train/images"][()]
        del file["train/images"]
        file["train"].create_dataset("images", data=images, chunks=(8, 8, 8), compression="gzip")
    assert np.array_equal(store.open(packed).train.images, store.open(path).train.images)
    assert store.verify(packed) == []
    with h5py.File(packed, "r+") as file:
        file["train/images"][3, 3, 3] ^= 1
    assert "train/images" in store.verify(packed)[0]


def test_a_scattered_copy_is_read_too(tmp_path):
    path = write_small_store(tmp_path / "a.h5", (40, 5, 0))
    expected = store.open(path).train.images.copy()
    with h5py.File(path, "r+") as file:
        del file["train/images"]
        images = file["train"].create_dataset("images", (40, 8, 8), "u1", chunks=(8, 8, 8))
        for row in (32, 8, 24, 0, 16):
            images[row : row + 8] = expected[row : row + 8]
    with pytest.raises(StoreError, match="scattered"):
        store.read_layout(path)
    assert np.array_equal(store.open(path).train.images, expected)
    assert not is_mapped(store.open(path).train.images)
    assert store.verify(path) == []


def test_a_table_of_other_length_is_refused(tmp_path):
    path = write_small_store(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["checksums/val/images"]
        file["checksums/val/images"] = np.zeros((2, 32), "u1")
    with pytest.raises(StoreError, match=r"val/images: checksums .* found uint8 \(2, 32\), expected uint8 \(1, 32\)"):
        store.verify(path)


def test_marks_are_shown_and_with_closes_nothing(tmp_path):
    with store.open(write_small_store(tmp_path / "a.h5", synthetic=True, partial=True)) as opened:
        assert "SYNTHETIC PARTIAL" in repr(opened)
        assert "train 20, val 6, test 9" in repr(opened)
    assert opened.train.images.any()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory by /proc")
def test_memory_stays_flat_however_large_the_store(tmp_path):
    path = write_small_store(tmp_path / "a.h5", (900, 2, 2), size=224, partial=True)
    code = (
        "import sys\n"
        "from mmtk import store\n"
        "def anonymous():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return int(next(line.split()[1] for line in lines if line.startswith('RssAnon')))\n"
        "def use(path):\n"
        "    opened = store.open(path)\n"
        "    total = sum(int(image.sum()) for image in opened.train.images)\n"
        "    return opened, opened.content_digest(), store.verify(path), store.export_npz(opened, sys.argv[3])\n"
        "kept = use(sys.argv[1])\n"
        "before = anonymous()\n"
        "kept += use(sys.argv[2])\n"
        "store.import_npz(kept[-1], sys.argv[4])\n"
        "print(anonymous() - before)\n"
    )
    args = [write_small_store(tmp_path / "small.h5", size=32), path, tmp_path / "npz", tmp_path / "back"]
    done = run_python("-c", code, *args, code=0)
    assert int(done.stdout) < 25_000, "kB of anonymous memory for 45 MB of images"


@settings(max_examples=80)
@given(data=st.data())
def test_no_flipped_byte_passes_in_silence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    path = write_small_store(folder / "a.h5", (9, 2, 3), size=4)
    digest = store.open(path).content_digest()
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        problems = store.verify(path)
    except StoreError as error:
        problems = [str(error)]
    assert all(problem.startswith(str(path)) for problem in problems)
    assert problems or store.open(path).content_digest() == digest


@settings(max_examples=30)
@given(keep=st.floats(0, 0.999))
def test_no_shortened_store_is_opened(tmp_path_factory, keep):
    path = write_small_store(tmp_path_factory.mktemp("cut") / "a.h5", (9, 2, 3), size=4)
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(StoreError, match=r"a\.h5"):
        store.open(path)


def _edit(change):
    def damage(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def _replace(name, **new):
    def change(file):
        del file[name]
        group, _, last = name.rpartition("/")
        file.require_group(group or "/").create_dataset(last, **new)

    return _edit(change)


def _link(link):
    def change(file):
        del file["test/images"]
        file["test/images"] = link

    return _edit(change)


def _virtual(file):
    layout = h5py.VirtualLayout((9, 8, 8), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (9, 8, 8))
    del file["test/images"]
    file.create_virtual_dataset("test/images", layout)


def _external(file):
    del file["test/images"]
    file["test"].create_dataset("images", (9, 8, 8), "u1", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def _facts(**new):
    def change(file):
        file.attrs["info"] = np.bytes_(json.dumps(json.loads(file.attrs["info"]) | new))

    return _edit(change)


def _claim(file):
    """A terabyte of labels that HDF5 would make up."""
    del file["test/labels"]
    file["test"].create_dataset("labels", (1 << 40, 1), "u1", chunks=(1 << 20, 1))


DAMAGE = {
    "no HDF5": lambda p: p.write_text("hello, this is not HDF5"),
    "empty": lambda p: p.write_bytes(b""),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
    "missing": lambda p: p.unlink(),
    "another HDF5 file": lambda p: h5py.File(p, "w").close(),
    "newer": _edit(lambda f: f.attrs.modify("version", 5)),
    "of a version that its facts are not of": _edit(lambda f: f.attrs.modify("version", 3)),
    "with an empty fact of version 3": _facts(page=""),
    "unfinished": _edit(lambda f: f["complete"].__setitem__(0, 0)),
    "without facts": _edit(lambda f: f.attrs.__delitem__("info")),
    "with wrong facts": _edit(lambda f: f.attrs.modify("info", "{}")),
    "with facts that are no JSON": _edit(lambda f: f.attrs.modify("info", "{")),
    "a size that is no number": _facts(size="8"),
    "classes that are no names": _facts(classes=[1, 2]),
    "a flag that leads elsewhere": _facts(flag="../../breastmnist"),
    "a zip archive": lambda p: p.write_bytes(b"PK\3\4"),
    "labels that are not there": _edit(_claim),
    "without a split": _edit(lambda f: f.__delitem__("val")),
    "a soft link": _link(h5py.SoftLink("/train/images")),
    "an external link": _link(h5py.ExternalLink("other.h5", "/train/images")),
    "virtual": _edit(_virtual),
    "external storage": _edit(_external),
    "text objects": _replace("test/labels", data=["a"] * 9, dtype=h5py.string_dtype()),
    "float images": _replace("test/images", data=np.zeros((9, 8, 8), "f4")),
    "images of another size": _replace("test/images", data=np.zeros((9, 8, 9), "u1")),
    "labels of other length": _replace("test/labels", data=np.zeros((8, 1), "u1")),
    "labels outside the classes": _replace("test/labels", data=np.full((9, 1), 2, "u1")),
    "records of another kind": _replace("test/records", data=np.zeros(9, "i4")),
    "a cycle of groups": _edit(lambda f: f["test"].__setitem__("self", f["/"])),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_file_is_one_line(tmp_path, kind):
    path = write_small_store(tmp_path / "a.h5")
    DAMAGE[kind](path)
    with pytest.raises(StoreError) as caught:
        store.open(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    told = {"newer": "upgrade mmtk", "empty": "an empty file", "a zip archive": "mmtk import", "missing": "no such"}
    assert told.get(kind, "") in str(caught.value)


def test_a_skeleton_is_no_store_until_finalized(tmp_path):
    made = store.open(write_small_store(tmp_path / "a.h5"))
    labels = {split.name: split.labels for split in made.splits}
    records = {split.name: split.records for split in made.splits}
    layout = store.create_skeleton(tmp_path / "b.h5", made.info, labels, records)
    with pytest.raises(StoreError, match="never finished"):
        store.open(tmp_path / "b.h5")
    with (tmp_path / "b.h5").open("r+b") as file:
        for split in made.splits:
            for row, image in enumerate(split.images):
                store.write_at(file.fileno(), image.tobytes(), layout.image_offset(split.name, row))
    store.finalize(tmp_path / "b.h5")
    assert digest_of(tmp_path / "b.h5") == digest_of(tmp_path / "a.h5")


def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path):
    made = store.open(write_small_store(tmp_path / "in" / "a.h5"))
    good = {s.name: (s.images, s.labels, s.records) for s in made.splits}
    (tmp_path / "out").mkdir()
    for change in ({"size": 9}, {"channels": 3}, {"classes": ("only",)}):
        with pytest.raises(StoreError):
            store.write_store(tmp_path / "out" / "b.h5", replace(made.info, **change), good)
    images, labels, records = good["val"]
    for wrong in (
        (images.astype("f4"), labels, records), (images, labels.astype("i8"), records), (images, labels, records[1:]),
        (images, labels[1:], records), (images, labels, records["height"]),
    ):
        with pytest.raises(StoreError, match="val"):
            store.write_store(tmp_path / "out" / "b.h5", made.info, good | {"val": wrong})
    assert not list((tmp_path / "out").iterdir())


def test_facts_that_could_not_be_read_again_are_refused_before_anything_is_written(tmp_path):
    made = store.open(write_small_store(tmp_path / "in" / "a.h5"))
    arrays = {s.name: (s.images, s.labels, s.records) for s in made.splits}
    for change in ({"flag": "my-lung"}, {"citation": "two\nlines"}, {"page": "\t"}, {"recipe": "?"}, {"task": "guess"}):
        with pytest.raises(StoreError, match=r"b\.h5: cannot be written: "):
            store.write_store(tmp_path / "b.h5", replace(made.info, **change), arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_store_without_the_facts_of_version_3_is_of_version_2_and_has_its_digest(tmp_path):
    opened = store.open(write_small_store(tmp_path / "a.h5"))
    with h5py.File(opened.path) as file:
        assert file.attrs["version"] == 2
        assert not {"page", "family"} & set(json.loads(file.attrs["info"]))
    # as the mmtk before version 3 wrote it
    assert opened.digest == "73e0851534a2420e7c2f266eb9ee700e8de5db9db498805cf7c020b6c514f391"
    copy = store.open(store.compress(opened, tmp_path / "copy"))
    assert copy.digest == opened.digest
    arrays = {s.name: (s.images, s.labels, s.records) for s in opened.splits}
    info = replace(opened.info, page="https://lung.example", family="lung", edition="")
    newer = store.open(store.write_store(tmp_path / "b.h5", info, arrays))
    with h5py.File(newer.path) as file:
        assert file.attrs["version"] == 3
    assert (newer.info, newer.info.own, opened.info.own) == (info, True, False)
    assert newer.digest == newer.content_digest() != opened.digest
    assert store.verify(newer.path) == store.verify(copy.path) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from mmtk.errors import StoreError\n"
        "from tests.small_stores import write_small_store\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_small_store(Path(sys.argv[1]), (500, 5, 5), size=28)\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "out" / "a.h5"
    done = run_python("-c", code, path)
    assert done.stdout.startswith(f"{path}: "), done.stderr
    assert not list(path.parent.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
