"""Drop-ins and ways out: medmnist's interface, Hugging Face, Croissant."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmtk import compat, files, store
from mmtk.compat import _imported, medmnist
from mmtk.errors import MmtkError, StoreError
from tests.commands import invoke, run_mmtk, run_python
from tests.peers import torchvision
from tests.small_stores import MULTILABEL, write_small_store

pytest.importorskip("PIL")


@pytest.fixture
def root(tmp_path):
    write_small_store(tmp_path / "breastmnist_28.h5", (40, 9, 12), size=28, partial=True)
    path = {"flag": "pathmnist", "channels": 3, "size": 64, "classes": 9, "task": "multi-class"}
    write_small_store(tmp_path / "pathmnist_64.h5", (20, 6, 9), **path)
    chest = {"flag": "chestmnist", "size": 28, "classes": 14, "task": MULTILABEL}
    write_small_store(tmp_path / "chestmnist_28.h5", (30, 6, 20), **chest)
    return tmp_path


# ---------------------------------------------------------------------------- medmnist


def test_items_are_pil_images_and_arrays_of_labels(root):
    split = store.open(root / "breastmnist_28.h5").val
    data = medmnist.BreastMNIST(split="val", root=root)
    assert len(data) == 9
    for row in (0, 8, -1):
        image, label = data[row]
        assert (image.mode, image.size) == ("L", (28, 28))
        assert np.array_equal(np.array(image), split.images[row])
        assert (label.tolist(), label.dtype) == (split.labels[row].tolist(), np.dtype(int))
    assert medmnist.BreastMNIST("val", root=root, as_rgb=True)[0][0].mode == "RGB"
    both = medmnist.BreastMNIST("val", transform=lambda x: x.size, target_transform=lambda y: y + 1, root=root)[2]
    assert both[0] == (28, 28)
    assert both[1].tolist() == (split.labels[2] + 1).tolist()
    assert medmnist.PathMNIST("test", root=root, size=64, mmap_mode="r")[0][0].size == (64, 64)


def test_it_speaks_as_medmnist_does(root):
    """Against the package itself where it is installed: the same facts, the same words."""
    theirs = pytest.importorskip("medmnist")
    for flag, ours in medmnist.INFO.items():
        official = theirs.INFO[flag]
        assert set(ours) == set(official)
        for name in ("python_class", "task", "n_channels", "n_samples", "url", "url_224", "MD5", "MD5_64"):
            assert ours[name] == official[name], (flag, name)
        assert len(ours["label"]) == len(official["label"])
        assert getattr(medmnist, ours["python_class"]).flag == flag
    store.export_npz(store.open(root / "breastmnist_28.h5"), root)
    here, there = (lib.BreastMNIST(split="train", root=root) for lib in (medmnist, theirs))
    assert np.array_equal(here.imgs, there.imgs)
    assert np.array_equal(here.labels, there.labels)
    there.info = {**there.info, "n_samples": {"train": 40}}  # it insists on the published number
    ours, official = (
        [line for line in repr(data).splitlines() if not line.strip().startswith(("Description", "Number of", "Mean"))]
        for data in (here, there)
    )
    assert ours == official
    for length in (1, 4):
        np.random.seed(3)  # noqa: NPY002 - both draw from it
        mine = here.montage(length=length)
        np.random.seed(3)  # noqa: NPY002
        assert np.array_equal(np.array(mine), np.array(there.montage(length=length)))
    for data, folder in ((here, root / "a"), (there, root / "b")):
        folder.mkdir()
        data.save(folder)
    files = sorted(path.relative_to(root / "a") for path in (root / "a").rglob("*") if path.is_file())
    assert len(files) == 41
    assert all((root / "a" / file).read_bytes() == (root / "b" / file).read_bytes() for file in files)


def test_the_evaluator_gives_medmnists_figures_and_files(root):
    theirs = pytest.importorskip("medmnist")
    rng = np.random.default_rng(0)
    for flag, columns in (("breastmnist", 2), ("chestmnist", 14)):
        store.export_npz(store.open(root / f"{flag}_28.h5"), root)
        here, there = (lib.Evaluator(flag, "test", root=root) for lib in (medmnist, theirs))
        scores = rng.random((len(here.labels), columns))
        folders = [root / "ours", root / "official"]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        found = [one.evaluate(scores, folder, "7") for one, folder in zip((here, there), folders, strict=True)]
        assert tuple(found[0]) == tuple(found[1])
        assert found[0]._fields == found[1]._fields
        name = here.get_standard_evaluation_filename(found[0], "7")
        ours, official = (np.loadtxt(folder / name, delimiter=",") for folder in folders)
        assert np.array_equal(ours, official)
        assert medmnist.Evaluator.parse_and_evaluate(folders[0] / name, root=root) == found[0]
        assert medmnist.getAUC(here.labels, scores, here.info["task"]) == found[0].AUC
        assert medmnist.getACC(here.labels, scores, here.info["task"]) == found[0].ACC
        assert here.get_dummy_prediction().shape[0] == len(here.labels)


def test_official_files_in_the_root_are_imported(root, tmp_path):
    folder = tmp_path / "npz"
    store.export_npz(store.open(root / "breastmnist_28.h5"), folder)
    data = medmnist.BreastMNIST("train", root=folder)
    assert np.array_equal(data.imgs, store.open(root / "breastmnist_28.h5").train.images)
    assert (folder / "breastmnist_28.h5").is_file()


@pytest.fixture
def official(root, tmp_path):
    """A folder with an official file, in which no store can be written."""
    folder = tmp_path / "npz"
    store.export_npz(store.open(root / "breastmnist_28.h5"), folder)
    return folder


@pytest.fixture
def unwritable(official, monkeypatch):
    """Folders below which nothing can be written, and with which error: to root every folder is writable."""
    refused = {official: errno.EROFS}
    mkdir, held = Path.mkdir, files._held

    def refuse(path):
        for folder, code in refused.items():
            if path == folder or folder in path.parents:
                raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(files, "_held", lambda final, folder: (refuse(final), held(final, folder))[1])

    def make(path, *arguments, **options):
        if not path.exists():
            refuse(path)
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", make)
    return refused


def check_imported(root, official):
    data = medmnist.BreastMNIST("train", root=official)
    assert np.array_equal(data.imgs, store.open(root / "breastmnist_28.h5").train.images)
    assert [path.name for path in official.iterdir()] == ["breastmnist.npz"]
    return data._split.store_path


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_official_files_in_a_folder_that_cannot_be_written_are_imported_elsewhere(
    root, official, unwritable, code, tmp_path, monkeypatch
):
    unwritable[official] = code
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    path = check_imported(root, official)
    assert cache / "mmtk" in path.parents
    before = path.stat().st_mtime_ns
    assert check_imported(root, official).stat().st_mtime_ns == before  # and are there the next time
    for damage in (b"", path.read_bytes()[:3000]):
        path.write_bytes(damage)
        check_imported(root, official)
    other = tmp_path / "other"  # another file of that name has another store
    write_small_store(tmp_path / "again" / "breastmnist_28.h5", (40, 9, 12), size=28, seed=1, partial=True)
    store.export_npz(store.open(tmp_path / "again" / "breastmnist_28.h5"), other)
    unwritable[other] = code
    assert not np.array_equal(medmnist.BreastMNIST("train", root=other).imgs, check_images(root))
    unwritable[cache] = code
    shutil.rmtree(cache)
    assert Path(tempfile.gettempdir()) in check_imported(root, official).parents


def check_images(root):
    return store.open(root / "breastmnist_28.h5").train.images


def test_where_nothing_can_be_written_the_root_is_named(root, official, unwritable, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_imported, "_temporary", lambda: None)
    unwritable[tmp_path / "cache"] = errno.ENOSPC
    with pytest.raises(RuntimeError, match=r"npz/breastmnist_28\.h5: .*Read-only file system"):
        medmnist.BreastMNIST("train", root=official)
    (official / "breastmnist.npz").write_bytes(b"PK")
    with pytest.raises(RuntimeError, match=r"breastmnist\.npz"):
        medmnist.BreastMNIST("train", root=official)


NO_HOME = """
import os, pwd
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
def none(*_):
    raise KeyError("uid not found")
pwd.getpwuid = none
from mmtk.compat import _imported, medmnist
assert medmnist.DEFAULT_ROOT is None
assert _imported._cache() is None
try:
    medmnist.BreastMNIST("train")
except RuntimeError as error:
    assert "`root`" in str(error)
folder = _imported._temporary()
if os.fork() == 0:
    raise SystemExit
os.wait()
assert folder.is_dir()
print(folder)
"""


def test_without_a_home_there_is_no_default_root_and_temporary_files_go_with_the_process():
    done = run_python("-W", "ignore", "-c", NO_HOME, code=0)
    assert not Path(done.stdout.strip()).exists()


def test_a_killed_process_leaves_no_temporary_folder_for_ever(tmp_path):
    code = "import os, sys\nfrom mmtk.compat import _imported\nprint(_imported._temporary(), flush=True)\n"
    killed = run_python("-c", f"{code}os.kill(os.getpid(), 9)", env={"TMPDIR": tmp_path}, code=-9)
    assert [str(path) for path in tmp_path.iterdir()] == killed.stdout.split()
    run_python("-c", code, env={"TMPDIR": tmp_path}, code=0)
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_said_as_medmnist_says_it(root, tmp_path):
    with pytest.raises(RuntimeError, match=r"Dataset not found.*retinamnist_28\.h5.*download=True"):
        medmnist.RetinaMNIST("train", root=root)
    with pytest.raises(RuntimeError, match="specify and create the `root`"):
        medmnist.RetinaMNIST("train", root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="expected train, val, test, found 'all'"):
        medmnist.BreastMNIST("all", root=root)
    with pytest.raises(AssertionError, match="expected one of"):
        medmnist.BreastMNIST("train", root=root, size=32)
    with pytest.raises(ValueError, match="split"):
        medmnist.Evaluator("breastmnist", "all", root=root)
    (root / "dermamnist_28.h5").write_bytes(b"no store")
    with pytest.raises(RuntimeError, match="expected a store"):
        medmnist.DermaMNIST("train", root=root)


def test_download_fetches_and_imports(root, tmp_path, monkeypatch):
    asked = []

    def fetch(flag, out, *, size):
        asked.append((flag, size))
        return store.export_npz(store.open(root / "breastmnist_28.h5"), out)

    monkeypatch.setattr(store, "fetch_npz", fetch)
    (tmp_path / "new").mkdir()
    for _ in range(2):
        assert len(medmnist.BreastMNIST("test", root=tmp_path / "new", download=True)) == 12
    assert asked == [("breastmnist", 28)]


def test_it_pickles_without_its_pixels(root):
    data = medmnist.PathMNIST("train", root=root, size=64)
    text = pickle.dumps(data)
    assert len(text) < 10_000
    again = pickle.loads(text)
    assert np.array_equal(again.imgs, data.imgs)


def test_it_pickles_what_a_script_put_in_their_place_and_no_other_store(root):
    data = medmnist.BreastMNIST("train", root=root)
    data.imgs = data.imgs[:3].copy()
    again = pickle.loads(pickle.dumps(data))
    assert len(again.imgs) == 3
    assert np.array_equal(again.labels, data.labels)
    text = pickle.dumps(medmnist.BreastMNIST("train", root=root))
    write_small_store(root / "breastmnist_28.h5", (40, 9, 12), size=28, seed=5)
    with pytest.raises(StoreError, match="expected the store of digest"):
        pickle.loads(text)


# The package's examples, each as a script written anew: flag, root and a folder for what it writes are its arguments.
GETTING_STARTED = '''
import os, sys
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
import torch.utils.data as data
import torchvision.transforms as transforms
import medmnist
from medmnist import INFO, Evaluator

flag, root, folder = sys.argv[1:]
torch.manual_seed(0)
np.random.seed(0)
torch.set_num_threads(1)
print(f"MedMNIST v{medmnist.__version__} @ {medmnist.HOMEPAGE}")
info = INFO[flag]
several = info["task"] == "multi-label, binary-class"
DataClass = getattr(medmnist, info["python_class"])
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean=[.5], std=[.5])])
train = DataClass(split="train", transform=transform, download=False, root=root)
test = DataClass(split="test", transform=transform, download=False, root=root)
pictures = DataClass(split="train", download=False, root=root, as_rgb=True)
print(train)
print("===================")
print(test)
image, label = pictures[3]
print(type(image).__name__, image.mode, image.size, label, label.dtype)
train.montage(length=1)
print(train.montage(length=5, save_folder=folder).size)
test.save(folder)
train_loader = data.DataLoader(dataset=train, batch_size=32, shuffle=True)
train_again = data.DataLoader(dataset=train, batch_size=64, shuffle=False)
test_loader = data.DataLoader(dataset=test, batch_size=64, shuffle=False)
model = nn.Sequential(
    nn.Conv2d(info["n_channels"], 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
    nn.Linear(8 * 6 * 6, len(info["label"])),
)
criterion = nn.BCEWithLogitsLoss() if several else nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
for epoch in range(2):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets.to(torch.float32) if several else targets.squeeze().long())
        loss.backward()
        optimizer.step()
model.eval()
for split, loader in (("train", train_again), ("test", test_loader)):
    scores = torch.tensor([])
    with torch.no_grad():
        for inputs, targets in loader:
            outputs = model(inputs)
            scores = torch.cat((scores, outputs.sigmoid() if several else outputs.softmax(dim=-1)), 0)
    metrics = Evaluator(flag, split, root=root).evaluate(scores.numpy(), folder, "1")
    print("%s  auc: %r  acc: %r" % (split, *map(float, metrics)))
'''
WITHOUT_PYTORCH = '''
import random, sys
import numpy as np
import medmnist
from medmnist.dataset import BreastMNIST, ChestMNIST, OrganMNISTAxial
from medmnist.evaluator import getACC, getAUC
from medmnist.info import DEFAULT_ROOT, HOMEPAGE, INFO

flag, root, folder = sys.argv[1:]
info = INFO[flag]
DataClass = {"breastmnist": BreastMNIST, "chestmnist": ChestMNIST, "organamnist": OrganMNISTAxial}[flag]

def batches(dataset, size):
    order = list(range(len(dataset)))
    random.Random(0).shuffle(order)
    for start in range(0, len(order), size):
        items = [dataset[row] for row in order[start:start + size]]
        yield np.array([np.array(image) for image, _ in items]), np.array([label for _, label in items])

np.random.seed(0)
train, test = (DataClass(split=split, root=root, download=False) for split in ("train", "test"))
print(len(train.montage(length=20, replace=True).tobytes()), sum(1 for _ in train))
total = seen = 0
for images, labels in batches(train, 128):
    total, seen = total + (images / 255 * (labels[:, :1, None] * 2.0 - 1)).sum(0), seen + len(images)
scores = 1 / (1 + np.exp(-(test.imgs / 255 * total).sum((1, 2)) / seen))
scores = np.repeat(scores[:, None], test.labels.shape[1], axis=1)
truth = test.labels.astype(float)
print(float(getAUC(truth, scores, info["task"])), float(getACC(truth, scores, info["task"])))
'''
OFFICIALLY = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
ON_STORES = "from mmtk.compat import medmnist; sys.argv.insert(0, ''); medmnist.main()"


def run_script(how, script, *arguments):
    # torchvision has to be imported by the way that is known to work beside any build of torch
    start = f"import sys\nfrom tests.peers import torchvision\ntorchvision()\nsys.argv = sys.argv[1:]\n{how}"
    done = run_python("-c", start, script, *arguments, code=0)
    return [line for line in done.stdout.splitlines() if not line.strip().startswith(("Description", "Saving"))]


@pytest.fixture(params=["getting started", "without PyTorch"])
def example(request, tmp_path):
    pytest.importorskip("torch")
    torchvision()
    path = tmp_path / "example.py"
    path.write_text({"getting started": GETTING_STARTED, "without PyTorch": WITHOUT_PYTORCH}[request.param])
    return path


def test_the_examples_print_and_write_on_stores_what_they_do_on_medmnist(example, real_data, tmp_path):
    pytest.importorskip("medmnist")
    said, files = [], []
    for how in (OFFICIALLY, ON_STORES):  # of the same file, imported by the second
        folder = tmp_path / str(len(said))
        folder.mkdir()
        shutil.copy(real_data / "npz" / "breastmnist.npz", tmp_path)
        said.append(run_script(how, example, "breastmnist", tmp_path, folder))
        files.append({path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()})
    assert said[0] == said[1]
    assert (tmp_path / "breastmnist_28.h5").is_file()
    assert set(files[0]) == set(files[1])
    for name, official in files[0].items():
        if "[AUC]" in name.name:
            ours = np.loadtxt(files[1][name], delimiter=",")
            assert np.array_equal(ours, np.loadtxt(official, delimiter=","))
        else:
            assert official.read_bytes() == files[1][name].read_bytes(), name


def test_the_examples_run_unchanged_on_a_small_store_of_several_labels(example, root):
    (root / "out").mkdir()
    said = run_script(ON_STORES, example, "chestmnist", root, root / "out")
    if "Evaluator" in example.read_text():
        assert said[1].endswith("(chestmnist)")
        assert [line.split()[0] for line in said[-2:]] == ["train", "test"]
    else:
        assert said[0] == f"{560 * 560} 30"
        assert all(0 <= float(figure) <= 1 for figure in said[1].split())


def test_its_command_runs_a_script_with_its_arguments(root):
    script = root / "script.py"
    script.write_text("import sys, medmnist, medmnist.info\nprint(medmnist.info is medmnist, *sys.argv[1:])\n")
    done = run_python("-m", "mmtk.compat.medmnist", script, "a", "b")
    assert done.stdout.split() == ["True", "a", "b"], done.stderr


def test_datasets_can_be_added(root):
    pytest.importorskip("torch")
    train, test = (medmnist.BreastMNIST(split, root=root) for split in ("train", "test"))
    both = train + test
    assert len(both) == 52
    assert np.array_equal(np.array(both[45][0]), test.imgs[5])


def test_a_missing_package_is_named_with_its_extra(root, tmp_path, monkeypatch):
    data = medmnist.BreastMNIST("val", root=root)
    monkeypatch.setitem(sys.modules, "PIL", None)
    reason = re.escape("expected the package pillow, found not installed; pip install 'mmtk[medmnist]'")
    for call in (lambda: data[0], lambda: data.montage(2), lambda: data.save(tmp_path / "saved")):
        with pytest.raises(MmtkError, match=reason):
            call()
    assert not (tmp_path / "saved").exists()
    monkeypatch.setitem(sys.modules, "torch.utils.data", None)
    with pytest.raises(MmtkError, match=re.escape("pip install 'mmtk[train]'")):
        data + data


# ------------------------------------------------------------------------ hugging face


def test_hugging_face_gets_images_and_class_names(root, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    for name in ("breastmnist_28", "pathmnist_64", "chestmnist_28"):
        opened = store.open(root / f"{name}.h5")
        found = compat.to_huggingface(opened, tmp_path / "cache")
        assert set(found) == {"train", "validation", "test"}
        for split, rows in zip(opened.splits, found.values(), strict=True):
            assert len(rows) == len(split)
            for row in (0, len(split) - 1):
                assert np.array_equal(np.array(rows[row]["image"]), split.images[row])
                label = rows[row]["labels" if opened.info.labels > 1 else "label"]
                expected = split.labels[row]
                assert label == (expected.tolist() if opened.info.labels > 1 else expected[0])


def test_hugging_face_gets_licence_citation_and_marks(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    plain = store.open(write_small_store(tmp_path / "a.h5", synthetic=True, partial=True))
    arrays = {split.name: (split.images, split.labels, split.records) for split in plain.splits}
    for number in range(2):  # facts may be other ones though the cache has the rows
        info = replace(plain.info, licence=f"CC BY {number}.0", citation=f"Doe {number}", page="https://a.example")
        found = compat.to_huggingface(
            store.open(store.write_store(tmp_path / "b.h5", info, arrays)), tmp_path / "cache"
        )
        for rows in found.values():
            assert (rows.info.license, rows.info.citation) == (f"CC BY {number}.0", f"Doe {number}")
            assert rows.info.homepage == "https://a.example"
            assert rows.info.description == "breastmnist, 8 px. SYNTHETIC PARTIAL"


# --------------------------------------------------------------------------- croissant


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_a_store_is_described_as_croissant_that_its_own_library_takes(root):
    for name in ("breastmnist_28", "chestmnist_28"):
        done = invoke("info", root / f"{name}.h5", "--croissant")
        described = json.loads(done.output)
        assert described["distribution"][0]["encodingFormat"] == "application/x-hdf5"
        mlcroissant = pytest.importorskip("mlcroissant")
        (root / "croissant.json").write_text(done.output)
        read = mlcroissant.Dataset(root / "croissant.json")
        assert not read.metadata.ctx.issues.errors
        # of HDF5 nothing reads rows: those are in what export --to hub writes
        assert [sets.id for sets in read.metadata.record_sets] == ["classes"]
        names = [row["classes/name"] for row in read.records("classes")]
        assert names == list(store.open(root / f"{name}.h5").info.classes)
    refused = run_mmtk("info", "breastmnist", "--croissant", code=2).stderr
    assert "--croissant: expected a store, found the flag breastmnist" in refused


def test_a_store_of_another_dataset_is_described_too(tmp_path):
    path = write_small_store(tmp_path / "eleventh_28.h5", flag="eleventh", size=28)
    described = compat.to_croissant(store.open(path))
    assert (described["name"], described["url"]) == ("eleventh-28", "")
