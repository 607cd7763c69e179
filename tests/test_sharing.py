"""A store as a folder to share: what the tools of others load of it, what it says, and what it does not tell."""

from __future__ import annotations

import csv
import hmac
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmtk import compat, store
from mmtk.compat import hub
from mmtk.errors import ArgumentError, MmtkError, StoreError
from tests.commands import invoke, run_mmtk, run_python
from tests.small_stores import MULTILABEL, write_small_store

FORMS = ("imagefolder", "parquet")
FACTS = {
    "edition": "", "pixels": "own", "split": "own", "title": 'Lung: "clinic" #1', "licence": "CC BY-NC-SA 4.0",
    "citation": "Doe & Co, 50 % of {it}", "page": "https://lung.example", "source": "Clinic", "membership": "by rule",
}
KINDS = {
    "colour": {"flag": "lungclinic", "task": "multi-class", "classes": 3, "channels": 3},
    "grey": {"flag": "lungclinic"},
    "several labels": {"flag": "lungclinic", "task": MULTILABEL, "classes": 3},
}


def own_store(folder: Path, kind: str = "grey", *, subjects: bool = True, size: int = 8, **change) -> store.Store:
    """A store of an own dataset whose records tell names: without val, the subjects of some rows not known."""
    plain = store.open(write_small_store(folder / "plain.h5", (12, 0, 5), size=size, **KINDS[kind]))
    arrays = {}
    for split in plain.splits:
        records = np.zeros(len(split), store.record_dtype(40, 12))
        records["source"] = [f"Müller/{split.name}{row}.png".encode() for row in range(len(split))]
        if subjects:
            records["subject"] = [f"H-{row // 2}".encode() if row else b"" for row in range(len(split))]
        arrays[split.name] = split.images, split.labels, records
    info = replace(plain.info, **{**FACTS, "flag": KINDS[kind]["flag"], **change})
    return store.open(store.write_store(folder / f"lungclinic_{size}.h5", info, arrays))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(folder: Path) -> bytes:
    """All that a folder holds, Parquet's values unpacked."""
    told = [name.encode() + data for name, data in content(folder).items()]
    for path in folder.rglob("*.parquet"):
        table = pytest.importorskip("pyarrow.parquet").read_table(path)
        told.append(repr((table.schema.metadata, table.drop_columns("image").to_pylist())).encode())
    return b"\n".join(told)


def hashed(folder: Path, field: str, value: bytes) -> str | None:
    key = bytes.fromhex((folder / "lungclinic.key").read_text())
    return hmac.new(key, field.encode() + b"\0" + value, "sha256").hexdigest()[:32] if value else None


def labels_of(row: dict, info: store.StoreInfo, before: str = "") -> list[int]:
    names = [f"label_{name}" for name in info.classes] if info.labels > 1 else ["label"]
    return [row[before + name] for name in names]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore")
def test_datasets_loads_every_row(tmp_path, monkeypatch, kind, form):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    opened = own_store(tmp_path, kind)
    folder = compat.export_hub(opened, tmp_path / "shared", form)
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train", "test"]
    for split, rows in zip((opened.train, opened.test), found.values(), strict=True):
        assert len(rows) == len(split)
        for row, image, label, record in zip(rows, split.images, split.labels, split.records, strict=True):
            assert np.array_equal(np.array(row["image"]), image)
            assert labels_of(row, opened.info) == label.tolist()
            assert row["source"] == hashed(tmp_path, "source", record["source"])
            assert row["subject"] == hashed(tmp_path, "subject", record["subject"])
    if opened.info.labels == 1:
        assert found["train"].features["label"].names == list(opened.info.classes)
    card = pytest.importorskip("huggingface_hub").DatasetCard.load(folder / "README.md")
    assert (card.data.license, card.data.pretty_name) == ("cc-by-nc-sa-4.0", 'Lung: "clinic" #1')


@pytest.mark.filterwarnings("ignore")
def test_labels_of_a_multi_label_task_collate_and_their_names_are_told(tmp_path):
    datasets, torch = pytest.importorskip("datasets"), pytest.importorskip("torch")
    datasets.disable_progress_bars()
    opened = own_store(tmp_path, "several labels", classes=("one", "two, or so", "three"))
    rows = compat.to_huggingface(opened, tmp_path / "cache")["train"]
    as_lists = torch.tensor([row["labels"] for row in rows])
    (as_tensors,) = torch.utils.data.DataLoader(rows.select_columns("labels").with_format("torch"), len(rows))
    for labels in (as_lists, as_tensors["labels"]):
        assert labels.dtype == torch.float32
        assert np.array_equal(labels.numpy(), opened.train.labels)
    assert torch.nn.functional.binary_cross_entropy_with_logits(torch.zeros(12, 3), as_lists) > 0
    assert "Labels: one, two, or so, three." in rows.info.description
    assert rows.features["labels"].length == 3


@pytest.mark.filterwarnings("ignore")
def test_volumes_are_arrays_for_datasets_told_in_croissant_and_in_no_folder_of_png(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    opened = store.open(write_small_store(tmp_path / "vesselmnist3d_8.h5", (5, 0, 3), flag="vesselmnist3d", ndim=3))
    found = compat.to_huggingface(opened, tmp_path / "cache")
    for split, rows in zip((opened.train, opened.test), found.values(), strict=True):
        assert rows.features["image"] == datasets.Array3D((8, 8, 8), "uint8")
        assert np.array_equal(np.array(rows["image"], np.uint8), split.images)
        assert rows["label"][:] == split.labels[:, 0].tolist()
    assert "8 x 8 x 8 px" in compat.to_croissant(opened)["description"]
    unlicensed = replace(opened.info, licence="")  # no licence would help it
    arrays = {split.name: (split.images[:], split.labels, split.records) for split in opened.splits}
    store.write_store(tmp_path / "vesselmnist3d_8.h5", unlicensed, arrays)
    told = run_mmtk("export", opened.path, "--to", "hub", "--out", tmp_path / "out", code=2).stderr
    assert "holds volumes, which a shared folder of PNG files cannot hold; share the .npz of" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.key"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_loads_every_row_and_the_licence(tmp_path, kind, form):
    mlcroissant = pytest.importorskip("mlcroissant")
    opened = own_store(tmp_path, kind, synthetic=True)
    folder = compat.export_hub(opened, tmp_path / "shared", form)
    read = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not read.metadata.ctx.issues.errors
    assert [sets.id for sets in read.metadata.record_sets] == ["classes", "train", "test"]
    assert read.metadata.license == ["https://creativecommons.org/licenses/by-nc-sa/4.0/"]
    assert "SYNTHETIC" in read.metadata.description
    for split in (opened.train, opened.test):
        rows = list(read.records(split.name))
        assert len(rows) == len(split)
        for row, image, label, record in zip(rows, split.images, split.labels, split.records, strict=True):
            pixels = np.array(row[f"{split.name}/image"])
            assert np.array_equal(pixels[..., 0] if pixels.ndim > image.ndim else pixels, image)
            assert labels_of(row, opened.info, f"{split.name}/") == label.tolist()
            assert row[f"{split.name}/source"].decode() == hashed(tmp_path, "source", record["source"])


@pytest.mark.parametrize("form", FORMS)
def test_no_name_leaves_unless_it_is_kept(tmp_path, form):
    opened = own_store(tmp_path)
    shared = everything(compat.export_hub(opened, tmp_path / "shared", form))
    key = (tmp_path / "lungclinic.key").read_text().strip()
    assert not [word for word in ("Müller", "train11.png", "H-1", key) if word.encode() in shared]
    assert bytes.fromhex(key) not in shared
    assert stat.S_IMODE((tmp_path / "lungclinic.key").stat().st_mode) == 0o600
    assert b"keyed hashes" in shared
    kept = everything(compat.export_hub(opened, tmp_path / "kept", form, keep_names=True))
    assert not [word for word in ("Müller/train11.png", "H-1") if word.encode() not in kept]
    assert b"keyed hashes" not in kept
    assert opened.digest.encode() in kept


def test_subjects_are_the_same_in_every_size_and_others_with_every_key(tmp_path):
    def subjects(folder: Path) -> list[str]:
        with (folder / "data/train/metadata.csv").open(newline="") as file:
            return [row["subject"] for row in csv.DictReader(file)]

    small, large = (own_store(tmp_path, size=size) for size in (8, 16))
    first, second = (subjects(compat.export_hub(s, tmp_path / "out" / str(s.info.size))) for s in (small, large))
    assert first == second
    assert len(set(first)) == 7, "six subjects, and a row of nobody known"
    elsewhere = own_store(tmp_path / "elsewhere")
    assert not set(subjects(compat.export_hub(elsewhere, tmp_path / "other"))) & set(first) - {""}
    (tmp_path / "lungclinic.key").write_text("precious")
    with pytest.raises(StoreError, match=r"lungclinic\.key: is not a key of 64 hexadecimal digits"):
        compat.export_hub(small, tmp_path / "no")
    assert (tmp_path / "lungclinic.key").read_text() == "precious"
    compat.export_hub(small, tmp_path / "named", keep_names=True)


def test_without_subjects_there_is_no_column_of_them_and_without_keys_no_key(tmp_path):
    folder = compat.export_hub(own_store(tmp_path, subjects=False, citation=""), tmp_path / "out", keep_names=True)
    assert (folder / "data/train/metadata.csv").read_text().splitlines()[0] == "file_name,label,source"
    assert not list(tmp_path.glob("*.key"))
    assert not (folder / "CITATION.bib").exists()


@pytest.mark.parametrize("licence", ["", " ", "none", "Unknown", "not stated"])
def test_without_a_licence_nothing_is_shared(tmp_path, licence):
    opened = own_store(tmp_path, licence=licence)
    told = run_mmtk("export", opened.path, "--to", "hub", "--out", tmp_path / "out", code=2).stderr
    assert "so it cannot be shared" in told
    assert "add the key licence to its dataset file and build it again with --force\n" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.key"))


@pytest.mark.parametrize(("licence", "name", "page"), [
    ("CC BY 4.0", "cc-by-4.0", "https://creativecommons.org/licenses/by/4.0/"),
    ("cc-by-sa-3.0", "cc-by-sa-3.0", "https://creativecommons.org/licenses/by-sa/3.0/"),
    ("CC0", "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    ("MIT", "mit", "https://opensource.org/license/mit"),
    ("CC BY 4.0 as MedMNIST says; LiTS: see its page", "other", "https://lung.example"),
    ("free with acknowledgement of NIH", "other", "https://lung.example"),
])
def test_a_licence_has_the_name_that_hubs_give_it(tmp_path, licence, name, page):
    folder = compat.export_hub(own_store(tmp_path, licence=licence, partial=True), tmp_path / "out")
    front = (folder / "README.md").read_text().split("---\n")[1]
    assert f'license: "{name}"\n' in front
    assert (f'license_name: "{licence}"\nlicense_link: "{page}"\n' in front) == (name == "other")
    assert (folder / "LICENSE.txt").read_text() == f"Licence: {licence}\n{page}\nSource: Clinic\nPARTIAL\n"
    described = json.loads((folder / "croissant.json").read_text())
    assert described["license"] == (licence if name == "other" else page)


def test_the_card_tells_marks_provenance_and_recipe(tmp_path):
    recipe = '[{"step":"grey","luma":"truncated"},{"step":"resize","filter":"bilinear"}]'
    opened = own_store(tmp_path, recipe=recipe, synthetic=True, unchecked=("a|b",), classes=("<b>x</b>", "y|z"))
    folder = compat.export_hub(opened, tmp_path / "out")
    text = (folder / "README.md").read_text()
    assert opened.digest not in text, "it covers the names"
    for part in ("**SYNTHETIC**", f"`{recipe}`", "by rule", "https://lung.example", "y\\|z", "a\\|b"):
        assert part in text
    assert "<b>" not in text.split("---\n")[2].replace("\\<", "")
    assert 'tags: ["medical", "mmtk", "noise", "synthetic"]' in text
    assert "edition" not in text
    cited = (folder / "CITATION.bib").read_text()
    assert r"note = {Doe \& Co, 50 \% of \{it\}}" in cited
    assert cited.startswith("@misc{lungclinic,\n")


@pytest.mark.parametrize("form", FORMS)
def test_equal_stores_give_equal_folders_and_others_are_replaced_with_force_alone(tmp_path, form):
    opened = own_store(tmp_path)
    (tmp_path / "out").mkdir()
    folder = compat.export_hub(opened, tmp_path / "out", form)
    before, times = content(folder), {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    compat.export_hub(opened, folder, form)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert content(compat.export_hub(opened, tmp_path / "again" / "there", form)) == before
    other = own_store(tmp_path, title="Another")
    with pytest.raises(StoreError, match="out: exists with other content; use --force"):
        compat.export_hub(other, folder, form)
    assert content(folder) == before
    compat.export_hub(other, folder, form, force=True)
    assert b"Another" in content(folder)["README.md"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("stranger", ["notes.txt", ".git/config", "data/train.csv", "data/train/cat.png"])
def test_a_folder_with_other_things_is_never_replaced(tmp_path, stranger):
    opened = own_store(tmp_path)
    path = tmp_path / "out" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(StoreError, match="out: will not be overwritten: it holds "):
        compat.export_hub(opened, tmp_path / "out", force=True)
    assert path.read_text() == "precious"


def test_the_command_writes_what_the_function_does(tmp_path):
    opened = own_store(tmp_path, partial=True)
    told = invoke("export", opened.path, "--to", "hub", "--out", tmp_path / "a" / "b").stdout
    assert told == f"{tmp_path / 'a' / 'b'}: train 12, val 0, test 5; PARTIAL\n"
    image = cv2.imread(str(tmp_path / "a/b/data/test/4.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(image, opened.test.images[4])
    invoke("export", opened.path, "--to", "hub", "--out", tmp_path / "p", "--as", "parquet", "--keep-names")
    assert sorted(os.listdir(tmp_path / "p" / "data")) == ["test.parquet", "train.parquet"]


FULL = """
import resource, signal, sys
from mmtk.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
main()
"""


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, form):
    opened = own_store(tmp_path, "colour")
    out = tmp_path / "new" / "out"
    done = run_python("-c", FULL, "export", opened.path, "--to", "hub", "--as", form, "--out", out, code=2)
    assert done.stderr.startswith(f"mmtk: error: {out}: cannot be written: file too large")
    assert len(done.stderr.splitlines()) == 1
    assert not list(out.parent.iterdir())


def test_of_two_who_make_a_key_the_first_one_counts(tmp_path, monkeypatch):
    opened, path = own_store(tmp_path), tmp_path / "lungclinic.key"
    write = hub._write_synced

    def late(temporary: Path, content: bytes) -> None:
        write(temporary, content)
        path.write_text("0" * 64)

    monkeypatch.setattr(hub, "_write_synced", late)
    assert hub._key(opened) == bytes(32)
    assert path.read_text() == "0" * 64


def test_what_cannot_be_shared_is_said(tmp_path, monkeypatch):
    opened = own_store(tmp_path)
    with pytest.raises(ArgumentError, match="form: found zip, expected imagefolder or parquet"):
        compat.export_hub(opened, tmp_path / "out", "zip")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StoreError, match="file: is a file, not a folder"):
        compat.export_hub(opened, tmp_path / "file", force=True)
    empty = store.open(write_small_store(tmp_path / "e.h5", (0, 0, 0)))
    nothing = {split.name: (split.images, split.labels, split.records) for split in empty.splits}
    empty = store.open(store.write_store(tmp_path / "e.h5", replace(empty.info, licence="CC0"), nothing))
    with pytest.raises(StoreError, match="has no images to share"):
        compat.export_hub(empty, tmp_path / "out")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MmtkError, match=r"pyarrow, which is not installed; pip install 'mmtk\[huggingface\]'"):
        compat.export_hub(opened, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()
