"""mmtk prove: each kind of evidence and each way to fail, on real files and on fakes of official ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import mmtk.builder.plan
import mmtk.datasets
import mmtk.proof._family
import mmtk.proof._prove
from mmtk import proof, store
from mmtk.base import md5_of
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Counts, Scan
from mmtk.datasets.listing import PHANTOM_FILE
from mmtk.datasets.maps import MapRow, OfficialMap
from mmtk.errors import ArgumentError
from mmtk.phantom import write_phantom
from mmtk.proof._rows import KnownRows, compare_rows
from mmtk.proof._signature import Signature, signature
from tests import lits44
from tests.commands import invoke, run_mmtk, run_python
from tests.small_stores import small_info

FLAG = "retinamnist"


def kinds(cell: proof.Cell) -> list[str]:
    return [one.kind for one in cell.evidence]


def only(found: proof.Proof) -> proof.Cell:
    (cell,) = found.cells
    return cell


# ------------------------------------------------------------- on real files


def test_real_files_prove_rows_containers_and_signatures(real_data):
    flags = ("breastmnist", "pneumoniamnist", "retinamnist")
    found = proof.prove(flags, sources=real_data / "sources", npz=real_data / "npz", sizes=(28, 64))
    cells = {(cell.flag, cell.size): cell for cell in found.cells}
    assert not found.differences
    assert cells["breastmnist", 28].text == "rows 46 of 46 (container, signature)"
    assert cells["pneumoniamnist", 28].text == "rows 14 of 14 (counts, container, signature)"
    assert "14 at their known place" in cells["pneumoniamnist", 28].evidence[0].detail
    assert kinds(cells["retinamnist", 28]) == ["counts", "container", "signature"]
    assert cells["breastmnist", 64].text == "nothing"
    said = "\n".join(proof.lines(found))
    assert "mmtk fetch breastmnist pneumoniamnist retinamnist --size 64 --out DIR" in said
    assert "breastmnist: raw files: BUSI (CC BY 4.0)" in said
    assert "46 of 780 images available" in said


def test_counts_come_from_boxes_and_metadata_alone(real_data):
    found = proof.prove(["dermamnist", "organcmnist", "breastmnist"], sources=real_data / "sources", sizes=[224])
    derma, organ, breast = found.cells
    assert kinds(derma) == kinds(organ) == ["counts"]
    assert derma.evidence[0].detail == "train 7,007, val 1,003, test 2,005"
    assert organ.evidence[0].detail.startswith("train 13,000, val 2,392, test 8,268, as in 2020")
    assert breast.text == "nothing", "46 of 780 files and no list of the others"


def test_one_ct_volume_proves_its_axial_rows_at_their_known_places(real_data, tmp_path):
    lits44.write_source(tmp_path / "lits", real_data)
    cells = proof.prove(["organamnist", "organsmnist"], sources=tmp_path, npz=real_data / "npz", sizes=[28]).cells
    assert [cell.text for cell in cells] == ["rows 127 of 127 (counts, container, signature)", "counts"]
    assert "127 at their known place" in cells[0].evidence[0].detail
    assert cells[0].edition == "2024", "that of the file at hand"
    assert any("1 of 200 volumes available" in need.text for need in cells[0].needs)


def test_a_raw_image_that_was_changed_is_named_and_shown(real_data, tmp_path):
    shutil.copytree(real_data / "sources" / "busi", tmp_path / "busi")
    path = next((tmp_path / "busi").rglob("benign (6).png"))
    image = cv2.imread(str(path))
    middle = tuple(side // 2 for side in image.shape[:2])
    image[middle[0] - 20 : middle[0] + 20, middle[1] - 20 : middle[1] + 20] = 255
    cv2.imwrite(str(path), image)
    arguments = ("breastmnist", "--sources", tmp_path, "--npz", real_data / "npz", "--size", 28)
    done = invoke("prove", *arguments, "--out", tmp_path / "out", code=1)
    assert "DIFFERS: rows; container (signature)" in done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("differs")]
    assert "breastmnist 28 px, train, benign/benign (6).png: differs from train[" in line
    assert "45 of 46 rows are equal" in line
    picture = tmp_path / "out" / "breastmnist_28_train_differs.png"
    assert line.endswith(f"see {picture}")
    assert cv2.imread(str(picture)).shape[1] > 3 * 280
    facts = json.loads(invoke("prove", *arguments, "--json", code=1).stdout)
    assert facts["differs"]
    assert facts["cells"][0]["differences"][0]["source"] == "benign/benign (6).png"


def test_a_file_of_another_md5_is_not_official(real_data, tmp_path):
    (tmp_path / "breastmnist.npz").write_bytes((real_data / "npz" / "breastmnist.npz").read_bytes() + b"\0")
    shutil.copy(real_data / "npz" / "dermamnist_recompressed.npz", tmp_path)
    found = proof.prove(["breastmnist", "dermamnist"], npz=tmp_path, sizes=[28])
    assert [cell.text for cell in found.cells] == ["nothing (npz not official)"] * 2
    breast, derma = (line for line in proof.lines(found) if "not official" in line)
    assert "750601b1f35ba3300ea97c75c52ff8f6 was published for 28 px" in breast
    assert "name" not in breast
    assert "7a899df81e82056b4ebef02d17ad76d6" in derma
    assert derma.endswith("its name is not one of MedMNIST's")


def test_the_md5_tells_an_official_file_whatever_its_name_and_size(real_data, tmp_path):
    shutil.copy(real_data / "npz" / "pneumoniamnist.npz", tmp_path / "pneumoniamnist (1).npz")
    (tmp_path / "unrelated.npz").write_bytes(b"no zip")
    (tmp_path / "pneumoniamnist_224.npz").write_bytes(b"of a size that is not asked for")
    cell = only(proof.prove("pneumoniamnist", npz=tmp_path, sizes=[28]))
    assert cell.text == "container (signature)"


@pytest.mark.parametrize(
    ("name", "jpeg"),
    [("breastmnist", False), ("organamnist", False), ("pneumoniamnist", True), ("retinamnist", True)],
)
def test_real_signatures_stand_clear_of_both_thresholds(real_data, tmp_path, name, jpeg):
    found = signature(store.open(store.import_npz(real_data / "npz" / f"{name}.npz", tmp_path)))
    assert found is not None
    assert found.jpeg is jpeg
    ratio = found.change / found.again
    assert ratio < 2.2 if jpeg else ratio > 5


def test_between_the_thresholds_a_signature_tells_nothing():
    assert [Signature(9, change, 1.0).jpeg for change in (2.9, 3.5, 4.6)] == [True, None, False]
    assert Signature(9, 0.01, 0.001).jpeg, "above 28 px neither trip changes anything"


def test_nothing_at_hand_says_what_to_get():
    done = invoke("prove")
    assert done.output.count("nothing") >= 40
    assert done.output.count("give their folder with --sources") == 8, "one line a source: three sets share one"
    assert "mmtk fetch pathmnist chestmnist dermamnist" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuchmnist"], "dataset nosuchmnist: "),
        (["breastmnist", "--size", "32"], "sizes: found 32, expected 28 or 64 or 128 or 224"),
        (["--sources", "nowhere"], "sources nowhere: is not a folder; see --sources"),
        (["--npz", "nowhere"], "npz nowhere: is not a folder"),
        (["--json", "--markdown"], "--json or --markdown"),
    ],
)
def test_bad_usage_exits_2_in_a_line(arguments, said):
    done = run_mmtk("prove", *arguments, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(ArgumentError):
        proof.prove("nosuchmnist")


def test_torch_is_not_needed():
    code = "import sys, mmtk.proof; print('torch' in sys.modules)"
    assert run_python("-c", code).stdout.strip() == "False"


# ------------------------------------------------------------------ on fakes


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """Raw files that do not say they are synthetic."""
    raw = write_phantom(FLAG, tmp_path_factory.mktemp("raw"), scale=0.01)
    (raw / PHANTOM_FILE).unlink()
    return raw


@pytest.fixture(scope="module")
def first(raw, tmp_path_factory) -> Path:
    """The store of all of them."""
    return mmtk.build(FLAG, sources=raw, out=tmp_path_factory.mktemp("first"), allow_partial=True)[0].path


class Fake:
    """A dataset whose provider has the phantom's images and no more, and official files made from them."""

    def __init__(self, folder: Path, raw: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.raw, self.monkeypatch = folder, raw, monkeypatch
        self.lost: list[str] = []
        self.real = get_dataset(FLAG)
        built = store.open(first)
        counts = Counts(**built.counts)
        self.change(counts={"2020": counts, "2024": counts}, md5={}, scan=self.scan)
        draw = np.random.default_rng(0)
        self.order = {split: draw.permutation(n) for split, n in built.counts.items()}
        self.arrays, self.names = {}, {}
        for split in built.splits:
            order = self.order[split.name]
            self.arrays[f"{split.name}_images"] = np.array(split.images)[order]
            self.arrays[f"{split.name}_labels"] = split.labels[order]
            self.names[split.name] = [split.records["source"][row].decode() for row in order]
        self.publish()

    def change(self, **facts) -> None:
        changed = replace(get_dataset(FLAG), **facts)
        for values in (mmtk.datasets._DATASETS._values, mmtk.datasets._DATASETS._first):
            self.monkeypatch.setitem(values, FLAG, changed)

    def scan(self, listing) -> Scan:
        """A scan that misses nothing but the images listed here."""
        found = self.real.scan(listing)
        kept = (f for f in found.findings if f.kind != "missing" or f.name in self.lost)
        return Scan(found.records, tuple(kept))

    def publish(self) -> Path:
        """Write the arrays as the official file, in its container, and publish its MD5."""
        self.change(md5={})
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        np.savez(work / f"{FLAG}.npz", **self.arrays)
        again = store.open(store.import_npz(work / f"{FLAG}.npz", work))
        path = store.export_npz(again, self.folder / "npz", force=True)
        self.change(md5={"2024:28": md5_of(path)})
        return path

    def lose(self, names: list[str]) -> None:
        """Take raw images away, from a copy of them."""
        self.raw = Path(shutil.copytree(self.raw, self.folder / "raw"))
        for path in list(self.raw.rglob("*.jpg")):
            if path.name in {Path(name).name for name in names}:
                path.unlink()
        self.lost = names

    def know(self, rows: dict[str, list[str]], unplaced: tuple[str, ...] = ()) -> None:
        """Make a map known: the source of each row of each split."""
        labels = {r.source: r.labels for r in self.real.scan(mmtk.datasets.listing.open_listing(self.raw)).records}
        known = OfficialMap(
            {split: tuple(MapRow(name, labels[name], "e") for name in names) for split, names in rows.items()},
            tuple(MapRow(name, labels[name], "") for name in unplaced),
        )
        for module in (mmtk.builder.plan, mmtk.proof._family, mmtk.proof._prove):
            self.monkeypatch.setattr(module, "official_map", lambda flag: known)
        numbered = {split: dict(enumerate(rows)) for split, rows in known.rows.items()}
        self.monkeypatch.setattr(mmtk.proof._prove, "known_rows", lambda flag, edition: numbered)

    def prove(self, **options) -> proof.Cell:
        options = {"sources": self.raw, "npz": self.folder / "npz", "sizes": [28], **options}
        return only(proof.prove(FLAG, **options))


@pytest.fixture
def fake(tmp_path, raw, first, monkeypatch) -> Fake:
    return Fake(tmp_path, raw, first, monkeypatch)


def test_all_raw_and_the_official_file_give_the_md5_though_no_order_is_known(fake):
    cell = fake.prove()
    rows = sum(len(names) for names in fake.names.values())
    assert cell.text == f"MD5 (rows {rows} of {rows}, counts, container, signature)"
    assert not cell.differences
    assert not cell.needs


def test_all_raw_and_a_known_order_give_the_md5_without_the_official_file(fake):
    fake.know(fake.names)
    cell = fake.prove(npz=None)
    assert cell.text == "MD5 (counts)"
    assert not cell.needs


def test_without_order_and_official_file_there_are_counts(fake):
    cell = fake.prove(npz=None)
    assert cell.text == "counts"
    assert any("the order of the official rows" in need.text for need in cell.needs)


def test_the_order_comes_from_the_28_px_file_whatever_sizes_are_asked_for(fake, tmp_path):
    options = {"sources": fake.raw, "sizes": [64], "edition": "2024", "match_npz": fake.folder / "npz"}
    (result,) = mmtk.build(FLAG, out=tmp_path, **options)
    md5 = md5_of(store.export_npz(store.open(result.path), tmp_path))
    fake.change(md5={**get_dataset(FLAG).md5, "2024:64": md5})
    assert fake.prove(sizes=[64]).text == "MD5 (counts)"


def test_official_rows_whose_raw_image_nobody_knows_are_said(fake):
    fake.know(fake.names)
    known = mmtk.proof._prove.official_map(FLAG)
    first = known.rows["test"][0]
    unknown = replace(first, source=None)
    known.rows["test"] = (unknown, *known.rows["test"][1:])
    object.__setattr__(known, "unplaced", (first,))
    cell = fake.prove(npz=None)
    assert cell.text == "counts"
    assert any("the raw images of 1 official rows" in need.text for need in cell.needs)


def test_a_published_md5_that_does_not_come_out_is_a_difference(fake):
    fake.know(fake.names)
    fake.change(md5={"2024:28": "0" * 32})
    cell = fake.prove(npz=None)
    assert cell.text == "DIFFERS: MD5; counts"
    assert "00000000000000000000000000000000 was published" in cell.differences[0].reason


def test_counts_that_do_not_come_out_are_a_difference(fake):
    counts = replace(get_dataset(FLAG).counts["2024"], test=1)
    fake.change(counts={"2020": counts, "2024": counts})
    assert fake.prove(npz=None).text.startswith("DIFFERS: counts")


def test_some_raw_images_are_found_in_the_splits_they_may_stand_in(fake):
    names = [name for split in SPLITS for name in fake.names[split]]
    fake.lose(names[::3])
    cell = fake.prove()
    left = len(names) - len(names[::3])
    assert cell.text == f"rows {left} of {left} (counts, container, signature)", "tables of the source list every image"
    assert any("images available" in need.text for need in cell.needs)


def test_an_official_row_that_differs_is_the_first_to_be_named_and_drawn(fake, tmp_path):
    fake.arrays["val_images"][1, 5, 5] ^= 64
    fake.arrays["test_images"][2, 7, 7] ^= 32
    fake.publish()
    fake.know(fake.names)
    cell = fake.prove(out=tmp_path / "out")
    first, second = cell.differences
    assert (first.split, first.source) == ("val", fake.names["val"][1])
    assert first.reason.startswith("differs from val[1] in 1 of 784 pixels, by up to 64 levels")
    assert first.picture == str(tmp_path / "out" / f"{FLAG}_28_val_differs.png")
    assert Path(first.picture).is_file()
    assert (second.source, second.picture) == (fake.names["test"][2], None)
    assert "md5" not in kinds(cell)


def test_a_label_that_differs(fake):
    fake.arrays["train_labels"][3] = (fake.arrays["train_labels"][3] + 1) % 5
    fake.publish()
    fake.know(fake.names)
    (one,) = fake.prove().differences
    assert one.source == fake.names["train"][3]
    ours, theirs = one.reason.split(",")[0], one.reason.split(" has ")[1][0]
    assert ours == f"label {(int(theirs) - 1) % 5}"


def test_rows_at_another_place_than_the_map_says(fake):
    rows = {split: list(names) for split, names in fake.names.items()}
    rows["val"][:2] = rows["val"][1::-1]
    fake.know(rows)
    assert {one.source for one in fake.prove().differences} == set(rows["val"][:2])


def test_a_row_whose_place_is_not_known_and_that_is_nowhere(fake, tmp_path):
    fake.lose(fake.names["train"][:1])  # of all images the order would be recovered
    fake.arrays["test_images"][0, 3, 3] ^= 128
    fake.publish()
    (one,) = fake.prove(out=tmp_path / "out").differences
    assert one.source == fake.names["test"][0]
    assert one.reason.startswith("no row of test has its pixels; the closest, test[0], differs in 1 of 784 pixels")
    assert Path(one.picture).is_file()


def test_files_known_to_be_no_official_row_are_told_apart(fake):
    rows = {split: list(names) for split, names in fake.names.items()}
    spare = rows["test"].pop()
    for kind in ("images", "labels"):
        fake.arrays[f"test_{kind}"] = fake.arrays[f"test_{kind}"][:-1]
    fewer = replace(get_dataset(FLAG).counts["2024"], test=len(rows["test"]))
    fake.change(counts={"2020": fewer, "2024": fewer})
    fake.publish()
    fake.know(rows, unplaced=(spare,))
    cell = fake.prove()
    assert not any(one.kind == "rows" for one in cell.differences)


def test_equal_pictures_count_once_each(tmp_path):
    info = small_info(size=4)
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)

    def write(name: str, rows: list[int], labels: list[int]) -> store.Store:
        records = np.zeros(len(rows), store.record_dtype(8, 1))
        records["source"] = [f"s{number}" for number in range(len(rows))]
        nothing = (np.zeros((0, 4, 4), np.uint8), np.zeros((0, 1), np.uint8), records[:0])
        some = (images[rows], np.array(labels, np.uint8)[:, None], records)
        return store.open(store.write_store(tmp_path / name, info, {"train": some, "val": nothing, "test": nothing}))

    anywhere = KnownRows(False, {}, frozenset(), dict.fromkeys(SPLITS, SPLITS))
    found = compare_rows(write("a.h5", [0, 0, 1], [0, 1, 0]), write("b.h5", [0, 2, 1], [1, 0, 1]), anywhere)
    assert (found.built, found.equal) == (3, 1)
    first, second = found.differing
    assert first.reason == "its pixels are in train or val or test only at train[0], which matches another image"
    assert second.reason == "label 0, but train[2], which has its pixels, has 1"
    assert first.ours is not None
    assert second.ours is None, "of many rows only one image is held"


def test_a_signature_that_speaks_against_the_recipe(fake):
    for split in SPLITS:
        fake.arrays[f"{split}_images"] = np.random.default_rng(1).integers(
            0, 256, fake.arrays[f"{split}_images"].shape, np.uint8
        )
    fake.publish()
    cell = fake.prove(sources=None)
    assert cell.text == "DIFFERS: signature; container"
    assert "no trace of the recipe's JPEG step" in cell.differences[0].reason


def test_a_container_that_is_not_understood(fake):
    path = fake.folder / "npz" / f"{FLAG}.npz"
    np.savez(path, **fake.arrays)  # not compressed
    fake.change(md5={"2024:28": md5_of(path)})
    assert fake.prove(sources=None).text == "DIFFERS: container; signature"


def test_stores_built_before_are_taken_as_they_are(fake, tmp_path):
    fake.know(fake.names)
    mmtk.build(FLAG, sources=fake.raw, out=tmp_path / "stores", edition="2024")
    assert fake.prove(sources=None, npz=None, stores=tmp_path / "stores").text == "MD5"
    imported = tmp_path / "imported"
    store.import_npz(fake.folder / "npz" / f"{FLAG}.npz", imported)
    assert fake.prove(sources=None, npz=None, stores=imported).text == "nothing", "it would prove itself"


def test_synthetic_files_prove_nothing(tmp_path):
    write_phantom("breastmnist", tmp_path, scale=0.001)
    cell = only(proof.prove("breastmnist", sources=tmp_path, sizes=[28]))
    assert cell.text == "nothing"
    assert any("synthetic" in need.text for need in cell.needs)


def test_a_raw_image_that_cannot_be_read_is_named_and_the_rest_is_proved(fake):
    fake.lose([])
    bad = sorted(fake.raw.rglob("*.jpg"))[0]
    bad.write_bytes(b"no JPEG")
    cell = fake.prove()
    assert not cell.differences
    assert kinds(cell)[0] == "rows"
    assert any("1 cannot be used" in need.text and bad.stem in need.text for need in cell.needs)


def test_markdown_is_a_pipe_table_with_what_its_words_mean(fake):
    fake.change(md5={**get_dataset(FLAG).md5, "2024:64": "0" * 32})
    text = proof.markdown(proof.prove(FLAG, sources=fake.raw, npz=fake.folder / "npz", sizes=[28, 64]))
    lines = text.splitlines()
    assert lines[:2] == ["| dataset | 28 px | 64 px |", "| --- | --- | --- |"]
    assert lines[2].startswith("| RetinaMNIST | MD5 (rows ")
    assert any(line.startswith("* **signature**: official pixels show traces of JPEG") for line in lines)
    assert any(f"mmtk fetch {FLAG} --size 64 --out DIR" in line for line in lines)
