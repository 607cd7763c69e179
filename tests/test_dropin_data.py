"""The drop-in's datasets beside medmnist's: items, words, pictures, and the files they are read from."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mmtk import files, store
from mmtk.base import md5_of
from mmtk.compat import medmnist
from mmtk.compat.medmnist import _cache, _files, dataset, utils
from mmtk.errors import MmtkError
from tests.commands import run_python
from tests.medmnists import counted, write_npz
from tests.small_stores import digests, write_small_store

pytest.importorskip("PIL")
MD5 = medmnist.INFO["breastmnist"]["MD5"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def both(name, *arguments, **more):
    """A dataset of ours and medmnist's, out of one root."""
    theirs = pytest.importorskip("medmnist")
    return tuple(getattr(package, name)(*arguments, **more) for package in (medmnist, theirs))


# --------------------------------------------------------------- as medmnist has it


def equal_items(one, other):
    (image, label), (image2, label2) = one, other
    assert type(image) is type(image2)
    assert np.array_equal(np.array(image), np.array(image2))
    assert np.array(image).dtype == np.array(image2).dtype
    assert (label.tolist(), label.dtype) == (label2.tolist(), label2.dtype)


SIZES = [(flag, size) for flag, facts in medmnist.INFO.items() for size in (28, 64, 128, 224)
         if f"MD5{'' if size == 28 else f'_{size}'}" in facts]


@pytest.mark.parametrize(("flag", "size"), SIZES)
def test_every_set_is_read_at_every_size(flag, size, tmp_path):
    facts = medmnist.INFO[flag]
    labels = len(facts["label"]) if facts["task"].startswith("multi-label") else 1
    shape = (size,) * (3 if flag.endswith("3d") else 2) + (3,) * (facts["n_channels"] == 3)
    name = flag if size == 28 else f"{flag}_{size}"
    write_npz(tmp_path, name, (3, 2, 2), shape=shape, labels=labels, classes=2 if labels > 1 else len(facts["label"]))
    for split, n in (("train", 3), ("val", 2), ("test", 2)):
        ours, theirs = both(facts["python_class"], split, root=tmp_path, size=size)
        assert len(ours) == n
        for row in range(n):
            equal_items(ours[row], theirs[row])


@pytest.mark.parametrize("as_rgb", [False, True])
@pytest.mark.parametrize(
    ("name", "shape", "labels"),
    [("BreastMNIST", (28, 28), 1), ("PathMNIST", (28, 28, 3), 1), ("ChestMNIST", (28, 28), 14),
     ("VesselMNIST3D", (8, 8, 8), 1)],
)
def test_items_are_medmnists(name, shape, labels, as_rgb, tmp_path):
    write_npz(tmp_path, name.lower(), shape=shape, labels=labels)
    ours, theirs = both(name, "val", root=tmp_path, as_rgb=as_rgb)
    assert vars(ours).keys() - {"_origin"} == vars(theirs).keys()
    for row in (0, 8, -1, np.int64(3)):
        equal_items(ours[row], theirs[row])
    if name.endswith("3D"):
        equal_items(ours[1:3], theirs[1:3])
    else:  # where medmnist fails
        some = ours[1:9:3]
        assert isinstance(some, pytest.importorskip("torch").utils.data.Subset)
        for item, row in zip([*some], (1, 4, 7), strict=True):
            equal_items(item, theirs[row])
    for wrong in (9, "a"):
        kinds = []
        for data in (ours, theirs):
            try:
                kinds.append(np.shape(data[wrong][0]))
            except Exception as error:
                kinds.append(type(error))
        assert kinds[0] == kinds[1], wrong
    assert [type(data.size) for data in both(name, "val", root=tmp_path, size=28.0)] == [int, int]
    changed = both(name, "val", np.shape, lambda label: label + 1, root=tmp_path)
    assert changed[0][2][0] == changed[1][2][0]
    assert np.array_equal(changed[0][2][1], changed[1][2][1])
    assert np.array_equal(ours.targets, ours.labels[:, 0] if labels == 1 else ours.labels)
    assert ours.classes == list(ours.info["label"].values())
    ours.targets = "mine"
    assert ours.targets == "mine"


@pytest.mark.parametrize("name", ["BreastMNIST", "ChestMNIST", "OrganMNIST3D"])
def test_it_says_of_itself_what_medmnist_says(name, tmp_path):
    counted(tmp_path, name.lower()) if name != "OrganMNIST3D" else write_npz(
        tmp_path, "organmnist3d", (971, 161, 610), shape=(2, 2, 2)
    )
    ours, theirs = both(name, "test", root=tmp_path)
    assert repr(ours) == repr(theirs)
    assert len(ours) == len(theirs)
    write_npz(tmp_path / "fewer", name.lower())
    assert len(getattr(medmnist, name)("train", root=tmp_path / "fewer")) == 40  # on which medmnist fails


@pytest.mark.parametrize(
    ("name", "shape"), [("PneumoniaMNIST", (8, 8)), ("DermaMNIST", (8, 8, 3)), ("SynapseMNIST3D", (5, 6, 6))]
)
def test_pictures_and_files_are_medmnists(name, shape, tmp_path, capsys):
    flag = name.lower()
    write_npz(tmp_path, flag, tuple(medmnist.INFO[flag]["n_samples"].values()), shape=shape)
    told, drawn = [], []
    for data in both(name, "val", root=tmp_path):
        np.random.seed(3)  # noqa: NPY002 - which both draw from
        data.montage(length=1)
        page = data.montage(5, save_folder=str(tmp_path / str(len(told)) / "new"))
        drawn.append([np.array(frame).tolist() for frame in (page if isinstance(page, list) else [page])])
        data.imgs, data.labels = data.imgs[:7], data.labels[:7]
        folder = tmp_path / str(len(told))
        for more in ({}, {"write_csv": False}):
            data.save(str(folder), **more)
        told.append(capsys.readouterr().out.replace(str(folder), ""))
    assert told[0] == told[1]
    assert drawn[0] == drawn[1]
    ours, theirs = ({p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "01")
    assert len(ours) == 7 + 2
    assert ours == theirs


def test_a_montage_of_any_number_is_filled_as_scikit_image_does():
    theirs = pytest.importorskip("medmnist.utils")
    rng = np.random.default_rng(0)
    for channels, shape in ((1, (9, 8, 6)), (3, (9, 8, 6, 3)), (1, (9, 4, 8, 6))):
        images = rng.integers(0, 256, shape, np.uint8)
        for chosen in (np.arange(1), np.arange(3), np.array([5, 1, 5, 0, 2]), [1, 2]):
            name = "montage3d" if len(shape) == 4 and channels == 1 else "montage2d"
            ours, official = (getattr(package, name)(images, channels, chosen) for package in (utils, theirs))
            assert np.array_equal(np.array(ours), np.array(official))


def test_functions_of_utils_refuse_what_medmnists_refuse(tmp_path):
    with pytest.raises(AssertionError, match="expected 2"):
        utils.save2d(np.zeros((2, 4, 4), np.uint8), np.zeros((3, 1)), str(tmp_path), "val", "png", None)
    with pytest.raises(AssertionError, match=r"\.gif"):
        utils.save_frames_as_gif([], str(tmp_path / "a.png"))
    write_npz(tmp_path, "organmnist3d", shape=(2, 2, 2))
    with pytest.raises(AssertionError, match="gif"):
        medmnist.OrganMNIST3D("val", root=tmp_path).save(tmp_path, "png")


def test_what_is_wrong_has_medmnists_kind_of_error(tmp_path):
    write_npz(tmp_path)
    np.savez(tmp_path / "octmnist.npz", train_images=np.zeros(3))
    np.savez(tmp_path / "retinamnist.npz", train_images=np.array([{}]), train_labels=np.array([{}]))
    (tmp_path / "pathmnist.npz").write_bytes(b"PK")
    (tmp_path / "dermamnist.npz").write_bytes(b"")
    cases = [
        ("BreastMNIST", "all", {}), ("BreastMNIST", "val", {"size": 32}), ("BreastMNIST", "val", {"size": 64}),
        ("BloodMNIST", "val", {}), ("BreastMNIST", "val", {"root": tmp_path / "no"}),
        ("OrganMNIST3D", "val", {"size": 128}), ("BreastMNIST", "val", {"root": None}),
        ("OCTMNIST", "train", {}), ("RetinaMNIST", "train", {}), ("PathMNIST", "train", {}),
        ("DermaMNIST", "train", {}), ("MedMNIST2D", "train", {}),
    ]
    theirs = pytest.importorskip("medmnist")
    for name, split, more in cases:
        kinds = []
        for package in (medmnist.dataset, theirs.dataset):
            with pytest.raises(Exception) as told:  # noqa: PT011 - whichever medmnist raises
                getattr(package, name)(split, **{"root": tmp_path, **more})
            kinds.append(told.type)
        assert kinds[0] is kinds[1], (name, split, more)


def test_what_numpy_says_of_a_file_comes_with_its_name(tmp_path):
    (tmp_path / "pathmnist.npz").write_bytes(b"PK")
    with pytest.raises(Exception, match=r"pickle|zip") as told:
        medmnist.PathMNIST("val", root=tmp_path)
    assert told.value.__notes__ == [f"in {tmp_path / 'pathmnist.npz'}"]
    with pytest.raises(RuntimeError, match=r"no bloodmnist\.npz or bloodmnist_28\.h5 in .*download=True"):
        medmnist.BloodMNIST("val", root=tmp_path)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    write_npz(tmp_path)
    data = medmnist.BreastMNIST("val", root=tmp_path)
    utils.image_module.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    reason = re.escape("the package pillow, which is not installed; pip install 'mmtk[medmnist]'")
    for call in (lambda: data[0], lambda: data.montage(2), lambda: data.save(tmp_path / "saved")):
        with pytest.raises(MmtkError, match=reason):
            call()
    assert not (tmp_path / "saved").exists()


def test_datasets_can_be_added(tmp_path):
    pytest.importorskip("torch")
    write_npz(tmp_path)
    train, test = (medmnist.BreastMNIST(split, root=tmp_path) for split in ("train", "test"))
    both = train + test
    assert len(both) == 52
    assert np.array_equal(np.array(both[45][0]), test.imgs[5])


# -------------------------------------------------------------------- files of a root


def test_functions_of_utils_can_be_others(tmp_path, monkeypatch):
    """They get what medmnist gives them, by name."""
    write_npz(tmp_path)
    write_npz(tmp_path, "vesselmnist3d", shape=(3, 4, 4))
    told = []
    for package in pytest.importorskip("medmnist"), medmnist:
        names = []
        for name in ("save2d", "save3d", "montage2d", "montage3d"):
            def other(*places, names=names, name=name, **more):
                names.append((name, len(places), sorted(more)))
            module = importlib.import_module(f"{package.__name__}.utils")
            monkeypatch.setattr(module, name, other)
        for kind in (package.BreastMNIST, package.VesselMNIST3D):
            data = kind("val", root=tmp_path)
            monkeypatch.setattr(kind, "__len__", lambda self: 9)
            data.save(str(tmp_path))
            data.montage(2)
        told.append(names)
    assert told[0] == told[1]
    assert len(told[0]) == 4


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A file that is taken for official, and not for small, in a folder of its own."""
    path = write_npz(tmp_path / "shared")
    md5 = _cache.md5_of(path)
    monkeypatch.setattr(_files, "_SMALL", 0)
    monkeypatch.setattr(_files.Place, "_md5", lambda self: md5)
    monkeypatch.setitem(medmnist.INFO["breastmnist"], "MD5", md5)
    return path


@pytest.fixture
def read(monkeypatch):
    """Files that were read for their MD5."""
    paths, real = [], _cache.md5_of
    monkeypatch.setattr(_cache, "md5_of", lambda path: paths.append(path) or real(path))
    return paths


def check(npz, split="train"):
    """Open a root's dataset, see that it is as NumPy reads it and that the root is left alone; the store it is from."""
    before = digests(npz.parent)
    data = medmnist.BreastMNIST(split, root=npz.parent)
    with np.load(npz) as arrays:
        assert np.array_equal(data.imgs, arrays[f"{split}_images"])
        assert np.array_equal(data.labels, arrays[f"{split}_labels"])
        assert data.labels.dtype == arrays[f"{split}_labels"].dtype
    assert digests(npz.parent) == before
    return data._origin and data._origin.split.store_path


def test_an_official_file_is_read_from_a_store_in_the_cache(official, cache, read):
    path = check(official)
    assert cache in path.parents
    assert read == [official]
    time = path.stat().st_mtime_ns
    assert [check(official, split) for split in ("train", "val", "test")] == [path] * 3
    assert (read, path.stat().st_mtime_ns) == ([official], time)
    for damage in (b"", path.read_bytes()[:3000]):
        path.write_bytes(damage)
        assert check(official) == path
        (path.parent / "npz.json").write_bytes(damage)
        assert check(official) == path


def test_another_file_in_its_place_is_seen(official, cache, read):
    check(official)
    status = official.stat()
    other = write_npz(official.parent / "new", seed=1)
    other.write_bytes(other.read_bytes()[: status.st_size].ljust(status.st_size, b"\0"))
    good = write_npz(official.parent / "new", seed=2)
    os.replace(good, official)
    (official.parent / "new").rmdir()
    os.utime(official, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check(official) is None
    assert check(official) is None
    assert len(read) == 2  # that it is not official is known the second time


def test_labels_have_the_type_they_have_in_the_file(tmp_path, monkeypatch, read):
    monkeypatch.setattr(_files, "_SMALL", 0)
    for number, how in enumerate(({"dtype": np.int64}, {"dtype": np.uint8})):
        npz = write_npz(tmp_path / str(number), **how)
        md5 = md5_of(npz)
        monkeypatch.setattr(_files.Place, "_md5", lambda self, md5=md5: md5)
        assert bool(check(npz)) == bool(number)
    read.clear()
    monkeypatch.setattr(_files.Place, "_md5", lambda self: md5_of(tmp_path / "0" / "breastmnist.npz"))
    monkeypatch.setattr(store, "import_npz", None)
    assert check(tmp_path / "0" / "breastmnist.npz") is None  # and that there is no store of it is known
    assert not read


def test_small_files_and_those_never_published_leave_no_trace(cache, tmp_path, monkeypatch, read):
    assert check(write_npz(tmp_path / "root")) is None
    assert not read
    assert not cache.exists()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_without_room_for_a_store_the_file_is_read_as_it_is(official, cache, code, monkeypatch):
    """To root every folder is writable, so the calls fail."""
    held = files._held

    def refuse(final, folder):
        if cache in final.parents:
            raise OSError(code, os.strerror(code), str(final))
        return held(final, folder)

    monkeypatch.setattr(files, "_held", refuse)
    assert check(official) is None
    monkeypatch.setattr(_cache, "_cache", lambda: None)
    assert check(official) is None
    monkeypatch.undo()


def test_a_cache_that_is_a_file_is_done_without(official, cache, read):
    cache.write_text("no folder")
    assert check(official) is None
    assert not read


def test_real_official_files_are_known(real_data, tmp_path, cache):
    for flag, name in (("organamnist", "OrganAMNIST"), ("breastmnist", "BreastMNIST")):
        npz = real_data / "npz" / f"{flag}.npz"
        data = getattr(medmnist, name)("test", root=npz.parent)
        with np.load(npz) as arrays:
            assert np.array_equal(data.imgs, arrays["test_images"])
            assert np.array_equal(data.labels, arrays["test_labels"])
        assert (data._origin is not None) == (npz.stat().st_size > _files._SMALL)
    root = tmp_path / "root"
    root.mkdir()
    (root / "organamnist.npz").symlink_to(real_data / "npz" / "organamnist.npz")
    mine = store.import_npz(root / "organamnist.npz", root)  # by the user, of this very file
    assert medmnist.OrganAMNIST("val", root=root)._origin.split.store_path == mine


def test_a_store_is_read_where_there_is_no_npz(tmp_path):
    opened = store.open(write_small_store(tmp_path / "breastmnist_28.h5", (40, 9, 12), size=28))
    data = medmnist.BreastMNIST("val", root=tmp_path)
    assert np.array_equal(data.imgs, opened.val.images)
    assert np.array_equal(medmnist.Evaluator("breastmnist", "val", root=tmp_path).labels, opened.val.labels)
    npz = write_npz(tmp_path, seed=7)
    assert check(npz, "val") is None  # which medmnist reads too
    npz.unlink()
    data = medmnist.BreastMNIST("train", root=tmp_path, mmap_mode="r")
    assert data.imgs.base is not None
    (tmp_path / "breastmnist_28.h5").write_bytes(b"no store")
    for call in (medmnist.BreastMNIST, lambda *a, **k: medmnist.Evaluator("breastmnist", *a, **k)):
        with pytest.raises(RuntimeError, match="is not a store"):
            call("val", root=tmp_path)


def test_a_compressed_store_is_an_array_too(tmp_path):
    plain = store.open(write_small_store(tmp_path / "plain" / "breastmnist_28.h5", (400, 9, 12), size=28))
    store.compress(plain, tmp_path, "gzip")
    data = medmnist.BreastMNIST("train", root=tmp_path)
    assert type(data.imgs) is np.ndarray
    data.imgs[:3] = 7
    assert (data.imgs[:3] == 7).all()
    packed = medmnist.BreastMNIST("train", root=tmp_path, mmap_mode="r").imgs
    assert isinstance(packed, store.ChunkedImages)
    assert np.array_equal(packed[:], plain.train.images)


TINY = [
    {"counts": (4, 4, 4), "shape": (8, 8), "dtype": np.int64}, {"shape": (28, 28, 3)},
    {"labels": 3, "dtype": np.float32}, {"shape": (5,), "counts": (0, 1, 2)}, {"classes": 200},
]


@pytest.mark.parametrize("how", TINY)
def test_fixtures_under_official_names_are_read_as_they_are(how, tmp_path, monkeypatch):
    theirs = pytest.importorskip("medmnist")
    monkeypatch.setattr(_files, "_SMALL", 0)
    write_npz(tmp_path, "pneumoniamnist", **how)
    for split in ("train", "val", "test"):
        ours, official = (package.PneumoniaMNIST(split, root=tmp_path) for package in (medmnist, theirs))
        for name in ("imgs", "labels"):
            assert np.array_equal(getattr(ours, name), getattr(official, name))
            assert getattr(ours, name).dtype == getattr(official, name).dtype
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["pneumoniamnist.npz"]


def test_own_sets_need_an_entry_and_a_subclass(tmp_path, monkeypatch):
    facts = {**medmnist.INFO["breastmnist"], "python_class": "MyMNIST"}
    monkeypatch.setitem(medmnist.INFO, "mymnist", facts)
    write_npz(tmp_path, "mymnist", counts=(6, 3, 3))

    class MyMNIST(dataset.MedMNIST2D):
        flag = "mymnist"

    data = MyMNIST("train", root=tmp_path)
    assert len(data) == 6
    assert repr(data).startswith("Dataset MyMNIST of size 28 (mymnist)")
    scores = np.array([0.1, 0.9, 0.2])
    labels = np.load(tmp_path / "mymnist.npz")["test_labels"]
    metrics = medmnist.Evaluator("mymnist", "test", root=tmp_path).evaluate(scores)
    assert np.mean((scores > 0.5) == labels[:, 0]) == metrics.ACC


# --------------------------------------------------------------------------- download


@pytest.fixture
def server(official, tmp_path, monkeypatch):
    """Addresses that were asked, of a server that has the official file."""
    asked, bytes_ = [], official.read_bytes()

    def fetch(url, md5, final):
        asked.append(url)
        final.write_bytes(bytes_)
        return final

    monkeypatch.setattr(store, "fetch_file", fetch)
    return asked


def test_after_a_download_the_official_file_is_there(server, official, tmp_path):
    root = tmp_path / "new"
    root.mkdir()
    for _ in range(2):
        assert len(medmnist.BreastMNIST("test", root=root, download=True)) == 12
    assert server == [medmnist.INFO["breastmnist"]["url"]]
    assert digests(root) == digests(official.parent)
    write_npz(root, seed=9)
    medmnist.BreastMNIST("test", root=root, download=True)  # in the place of another one, as medmnist does it
    assert len(server) == 2
    assert digests(root) == digests(official.parent)


def test_a_whole_official_store_is_written_out_in_place_of_a_download(server, official, tmp_path, monkeypatch):
    root = tmp_path / "new"
    root.mkdir()
    mine = write_small_store(root / "breastmnist_28.h5", (40, 9, 12), size=28, seed=4)
    out = store.export_npz(store.open(mine), tmp_path / "out")
    md5 = _cache.md5_of(out)
    monkeypatch.setattr(_files.Place, "_md5", lambda self: md5)
    monkeypatch.setitem(medmnist.INFO["breastmnist"], "MD5", md5)
    data = medmnist.BreastMNIST("test", root=root, download=True)
    assert not server
    assert (root / "breastmnist.npz").read_bytes() == out.read_bytes()
    assert data._origin.split.store_path == mine  # no second store is made of it
    assert sorted(path.name for path in root.iterdir()) == ["breastmnist.npz", "breastmnist_28.h5"]


@pytest.mark.parametrize("marks", [{"partial": True}, {"synthetic": True}, {"seed": 3}])
def test_another_store_is_no_download(server, official, tmp_path, marks):
    root = tmp_path / "new"
    write_small_store(root / "breastmnist_28.h5", (40, 9, 12), size=28, **marks)
    medmnist.BreastMNIST("test", root=root, download=True)
    assert len(server) == 1
    assert check(root / "breastmnist.npz", "test")
    assert sorted(path.name for path in root.iterdir()) == ["breastmnist.npz", "breastmnist_28.h5"]


def test_a_download_that_fails_says_where_the_file_is(tmp_path, monkeypatch):
    def fetch(url, md5, final):
        raise MmtkError("no line")

    monkeypatch.setattr(store, "fetch_file", fetch)
    url, md5 = medmnist.INFO["breastmnist"]["url"], medmnist.INFO["breastmnist"]["MD5"]
    with pytest.raises(RuntimeError, match=f"no line.*{re.escape(url)}.*{md5}"):
        medmnist.BreastMNIST("test", root=tmp_path, download=True)
    write_small_store(tmp_path / "breastmnist_28.h5", (40, 9, 12), size=28, partial=True)
    with pytest.warns(UserWarning, match=r"breastmnist\.npz cannot be downloaded \(no line\)"):
        assert len(medmnist.BreastMNIST("test", root=tmp_path, download=True)) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["breastmnist_28.h5"]


def test_a_file_of_an_address_and_an_md5_is_fetched(tmp_path, monkeypatch):
    """Own sets may name both."""
    import http.server
    import threading

    write_npz(tmp_path / "there", "mymnist")
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    serve = partial(handler, directory=str(tmp_path / "there"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/mymnist.npz"
    facts = {**medmnist.INFO["breastmnist"], "url": url, "MD5": _cache.md5_of(tmp_path / "there" / "mymnist.npz")}
    monkeypatch.setitem(medmnist.INFO, "mymnist", facts)
    root = tmp_path / "here"
    root.mkdir()
    kind = type("MyMNIST", (dataset.MedMNIST2D,), {"flag": "mymnist"})
    try:
        assert len(kind("train", root=root, download=True)) == 40
        assert digests(root) == digests(tmp_path / "there")
    finally:
        server.shutdown()
        server.server_close()


def test_the_command_downloads_a_size_of_each_set_that_has_it(server, tmp_path, capsys, monkeypatch):
    from mmtk.compat.medmnist import _commands

    for flag in ("breastmnist", "vesselmnist3d"):
        monkeypatch.setitem(medmnist.INFO[flag], "MD5_128", medmnist.INFO["breastmnist"]["MD5"])
    monkeypatch.setattr(_commands, "INFO", {flag: medmnist.INFO[flag] for flag in ("breastmnist", "vesselmnist3d")})
    assert _commands.main(["download", "--size", "128", f"--root={tmp_path}"]) == 0
    assert [url.split("/")[-1] for url in server] == ["breastmnist_128.npz?download=1"]
    assert capsys.readouterr().out.splitlines() == [
        "Downloading breastmnist     | BreastMNIST     | Size: 128",
        "Size 128 not avaiable for vesselmnist3d   | VesselMNIST3D  ",
    ]


# ------------------------------------------------------------------------- no home

NO_HOME = """
import os, pwd, sys, warnings
for name in ("HOME", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
def none(*_):
    raise KeyError("uid not found")
pwd.getpwuid = none
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from mmtk.compat import medmnist
    assert medmnist.dataset.DEFAULT_ROOT is None
assert "no home" in str(told[0].message), told
from mmtk.compat.medmnist import _cache, _files
assert _cache._cache() is None
try:
    medmnist.BreastMNIST("train")
except RuntimeError as error:
    assert "`root`" in str(error)
_files._SMALL = 0
print(len(medmnist.BreastMNIST("train", root=sys.argv[1])), os.listdir())
"""


def test_without_a_home_there_is_no_default_root(tmp_path):
    write_npz(tmp_path / "root")
    (tmp_path / "work").mkdir()
    done = run_python("-c", NO_HOME, tmp_path / "root", code=0, cwd=tmp_path / "work")
    assert done.stdout.split() == ["40", "[]"]


def test_a_home_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    (tmp_path / ".medmnist").write_text("a file")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.warns(UserWarning, match=r"\.medmnist cannot be created"):
        assert medmnist.info.get_default_root() is None
    (tmp_path / ".medmnist").unlink()
    assert medmnist.info.get_default_root() == str(tmp_path / ".medmnist")
    assert (tmp_path / ".medmnist").is_dir()


def test_paths_may_be_text_or_paths(tmp_path, monkeypatch):
    write_npz(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    for root in (str(tmp_path), tmp_path, tmp_path.name, Path(tmp_path.name)):
        data = medmnist.BreastMNIST("val", root=root)
        assert data.root == root
