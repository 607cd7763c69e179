"""``mmtk import``, ``export``, ``verify`` and ``show`` as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmtk import matching, store
from mmtk.base import md5_of
from mmtk.errors import ArgumentError, StoreError
from tests.commands import invoke, run_python
from tests.small_stores import write_small_store


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_small_store(tmp_path / "breastmnist_28.h5", size=28, synthetic=True, partial=True)


def test_export_and_import_say_what_they_wrote_and_what_it_is(path, tmp_path):
    line = "train 20, val 6, test 9"
    npz, png = tmp_path / "breastmnist.npz", tmp_path / "breastmnist.csv"
    assert invoke("export", path, "--to", "npz", "--out", tmp_path).stdout == f"{npz}: {line}; SYNTHETIC PARTIAL\n"
    assert invoke("export", path, "--to", "png", "--out", tmp_path).stdout == f"{png}: {line}; SYNTHETIC PARTIAL\n"
    told = invoke("import", npz, "--out", tmp_path / "s").stdout
    assert told.startswith(f"{tmp_path / 's' / 'breastmnist_28.h5'}: {line}; the file with MD5 ")
    assert told.endswith("; SYNTHETIC PARTIAL\n")
    told = json.loads(invoke("import", npz, "--out", tmp_path / "s", "--json").stdout)
    assert told["counts"] == {"train": 20, "val": 6, "test": 9}
    assert told["synthetic"]


def test_verify_tells_whole_from_changed_from_no_store(path, tmp_path):
    assert invoke("verify", path).stdout == f"{path}: intact, train 20, val 6, test 9; SYNTHETIC PARTIAL\n"
    damaged = write_small_store(tmp_path / "damaged.h5", size=28)
    flip(damaged, store.read_layout(damaged).image_offset("val", 2))
    result = invoke("verify", damaged, path, code=1)
    assert result.stdout.startswith(f"{damaged}: val/images chunk 0 (rows 0 to 5): checksum differs, ")
    assert f"{path}: intact" in result.stdout
    (tmp_path / "text.h5").write_text("hello")
    result = invoke("verify", tmp_path / "text.h5", damaged, path, code=2)
    assert result.stderr == (
        f"mmtk: error: {tmp_path / 'text.h5'}: is not a store or any other HDF5 file\n"
    )
    assert len(result.stdout.splitlines()) == 2
    found = json.loads(invoke("verify", damaged, path, "--json", code=1).stdout)
    assert [len(problems) for problems in found.values()] == [1, 0]


def test_show_draws_a_picture(path, tmp_path):
    picture = tmp_path / "new" / "montage.png"
    told = invoke("show", path, "--out", picture, "--split", "val").stdout
    assert told == f"{picture}: breastmnist val; SYNTHETIC PARTIAL\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["npz", "png"])
def test_a_folder_that_cannot_be_is_one_line(path, tmp_path, kind):
    (tmp_path / "file").write_text("")
    result = invoke("export", path, "--to", kind, "--out", tmp_path / "file" / "below", code=1)
    assert isinstance(result.exception, StoreError)
    assert str(result.exception).startswith(str(tmp_path / "file" / "below" / "breastmnist"))
    assert "not a directory" in str(result.exception)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_one_line(path, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    for args in (["--to", "npz"], ["--to", "png"]):
        result = invoke("export", path, *args, "--out", tmp_path / "locked", code=1)
        assert isinstance(result.exception, StoreError)
        assert "permission denied" in str(result.exception)


FULL = """
import resource, signal, sys
from mmtk.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
main()
"""


@pytest.mark.parametrize("args", [
    ["export", "breastmnist_28.h5", "--to", "npz"], ["export", "breastmnist_28.h5", "--to", "png"],
    ["import", "breastmnist.npz"], ["show", "breastmnist_28.h5"],
])
def test_a_full_disk_is_one_line_and_leaves_nothing(path, tmp_path, args):
    invoke("export", path, "--to", "npz", "--out", tmp_path)
    out = tmp_path / "out" / ("montage.png" if args[0] == "show" else "")
    done = run_python("-c", FULL, args[0], tmp_path / args[1], *args[2:], "--out", out, code=2)
    assert done.stderr.startswith(f"mmtk: error: {tmp_path / 'out'}")
    assert "too large" in done.stderr
    assert "raise the file size limit" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


def test_bad_names_are_usage_errors(path, tmp_path):
    assert invoke("export", path, "--to", "gif", "--out", tmp_path, code=2)
    assert invoke("verify", code=2)
    for args in (["show", tmp_path / "none.h5", "--out", tmp_path / "x.png"], ["import", tmp_path / "none.npz"]):
        result = invoke(*args, *(["--out", tmp_path] if len(args) == 2 else []), code=1)
        assert isinstance(result.exception, StoreError)
    assert [path.name for path in tmp_path.iterdir()] == ["breastmnist_28.h5"]


@pytest.fixture(params=["mydata", "ownmnist"])
def own(request, tmp_path) -> Path:
    """A store of a dataset that mmtk does not know, in three classes of colour."""
    like = store.open(write_small_store(
        tmp_path / "like.h5", flag=request.param, task="multi-class", classes=3, channels=3, size=28
    ))
    arrays = {}
    for split in like.splits:
        records = np.zeros(len(split), store.record_dtype(9, 1))
        records["source"] = [f"{split.name}/{row}" for row in range(len(split))]
        arrays[split.name] = (split.images, split.labels, records)
    return store.write_store(tmp_path / f"{request.param}_28.h5", like.info, arrays)


def test_a_store_of_an_unknown_dataset_tells_all_that_commands_need(own, tmp_path):
    flag, line, out = own.stem.removesuffix("_28"), "train 20, val 6, test 9", tmp_path / "out"
    assert f"flag         {flag}" in invoke("info", own).stdout
    described = json.loads(invoke("info", own, "--croissant").stdout)
    assert (described["url"], len(described["recordSet"])) == ("", 1)
    assert invoke("verify", own).stdout == f"{own}: intact, {line}\n"
    unofficial = f"unknown dataset {flag}: nothing official to compare with"
    assert f"  {unofficial}\n" in invoke("verify", own, "--against-official").stdout
    told = json.loads(invoke("verify", own, "--against-official", "--json").stdout)[str(own)]["official"]
    assert (told["remark"], told["differs"]) == (unofficial, False)
    for kind, name in (("npz", f"{flag}.npz"), ("png", f"{flag}.csv"), ("h5", f"{flag}_28.h5")):
        assert invoke("export", own, "--to", kind, "--out", out).stdout == f"{out / name}: {line}\n"
    assert invoke("show", own, "--out", tmp_path / "m.png").stdout == f"{tmp_path / 'm.png'}: {flag} train\n"
    assert "0 groups of identical images" in invoke("audit", own, "--near", "0").stdout
    assert "35 rows: 35 exact" in invoke("match", own, out / f"{flag}.npz").stdout


def test_of_an_own_dataset_nothing_is_called_official(own, tmp_path):
    opened = store.open(own)
    arrays = {split.name: (split.images, split.labels, split.records) for split in opened.splits}
    facts = {"edition": "", "pixels": "own", "split": "own", "page": "https://own.example"}
    path = store.write_store(tmp_path / own.name, replace(opened.info, **facts), arrays)
    shown = invoke("info", path).stdout
    assert "page         https://own.example\n" in shown
    assert "edition" not in shown
    compared = invoke("verify", path, "--against-official").stdout
    assert compared.splitlines()[1:] == ["  never published: nothing official to compare with"]
    assert not json.loads(invoke("verify", path, "--against-official", "--json").stdout)[str(path)]["official"]["md5"]
    described = json.loads(invoke("info", path, "--croissant").stdout)
    assert described["url"] == "https://own.example"
    assert "version" not in described
    npz = store.export_npz(store.open(path), tmp_path)
    told = invoke("import", npz, "--out", tmp_path / "in").stdout
    assert f"; none; imported from the file with MD5 {md5_of(npz)}\n" in told


def test_an_unknown_dataset_is_matched_with_no_other_and_not_imported(own, tmp_path):
    flag = own.stem.removesuffix("_28")
    npz = store.export_npz(store.open(own), tmp_path)
    other = Path(shutil.copy(npz, tmp_path / "breastmnist.npz"))
    with pytest.raises(StoreError, match=rf"breastmnist\.npz: .*{flag}"):
        matching.match(store.open(own), other)
    with pytest.raises(ArgumentError, match=f"dataset {flag}: .*; for your own images"):
        store.import_npz(npz, tmp_path / "in", flag)
    with pytest.raises(ArgumentError, match=r"did you mean breastmnist\?; for your own"):
        store.import_npz(npz, tmp_path / "in", "brestmnist")
    assert not (tmp_path / "in").exists()
