"""Folders and lists of names, and how a provider's folder is found among others."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest

import mmtk
from mmtk.datasets import get_dataset
from mmtk.datasets.collecting import natural_key
from mmtk.datasets.listing import find_source, open_listing
from mmtk.datasets.maps import read_map
from mmtk.datasets.own._files import patient_of
from mmtk.datasets.tables import read_table
from mmtk.errors import SourceError, reason_of, system_remedy
from mmtk.phantom import write_phantom
from tests import dicoms


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_is_listed_sorted_and_each_folder_once_through_loops(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/10.png", "a.txt", "ü/ñ.png")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone").symlink_to("nowhere")
    listing = open_listing(tmp_path)
    assert listing.names == ("a.txt", "b/10.png", "b/2.png", "gone", "self", "ü/ñ.png")
    assert listing.readable
    assert listing.path("a.txt") == tmp_path / "a.txt"


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x.png")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    assert open_listing(tmp_path / "here").names == ("link/x.png",)


def test_a_text_file_lists_names_beside_it(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes("\ufeff# kept\n./b/x.png\r\na\\y.png\n\nb/x.png\n".encode())
    listing = open_listing(names)
    assert (listing.names, listing.readable, listing.root) == (("a/y.png", "b/x.png"), False, tmp_path)


@pytest.mark.parametrize("kind", ["nothing", "binary", "closed"])
def test_what_cannot_be_listed_is_said(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "source"
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    if kind == "closed":
        path.mkdir()

        def refuse(folder: object) -> None:
            raise PermissionError(13, "permission denied", str(folder))

        monkeypatch.setattr("mmtk.datasets.listing.os.scandir", refuse)
    with pytest.raises(SourceError, match="source"):
        open_listing(path)


@pytest.mark.parametrize(
    ("flag", "mark"),
    [("breastmnist", "Dataset_BUSI_with_GT/normal/normal (1).png"), ("breastmnist", "malignant/malignant (1).png"),
     ("pneumoniamnist", "chest_xray/train/NORMAL/x.jpeg"), ("pneumoniamnist", "test/PNEUMONIA/x.jpeg"),
     ("dermamnist", "HAM10000_metadata.csv"), ("dermamnist", "ham10000_metadata.CSV"),
     ("octmnist", "OCT2017/train/CNV/x.jpeg")],
)
@pytest.mark.parametrize("above", ["", "one/", "one/two/"])
def test_a_source_is_found_itself_or_up_to_two_levels_down(tmp_path: Path, flag: str, mark: str, above: str) -> None:
    touch(tmp_path, above + mark, "other/readme.txt", ".hidden/" + mark)
    assert find_source(tmp_path, get_dataset(flag)).root == (tmp_path / above)


def test_oct_is_not_taken_for_chest(tmp_path: Path) -> None:
    touch(tmp_path, "train/NORMAL/NORMAL-1-1.jpeg", "train/DRUSEN/DRUSEN-1-1.jpeg")
    assert find_source(tmp_path, get_dataset("octmnist")).root == tmp_path
    with pytest.raises(SourceError):
        find_source(tmp_path, get_dataset("pneumoniamnist"))


def test_a_source_not_found_is_said_with_layout_page_and_licence(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c/Dataset_BUSI_with_GT/x")
    with pytest.raises(SourceError) as caught:
        find_source(tmp_path, get_dataset("breastmnist"))
    for part in ("Dataset_BUSI_with_GT/<class>", "https://scholar.cu.edu.eg", "CC BY 4.0", str(tmp_path)):
        assert part in str(caught.value)
    with pytest.raises(SourceError, match="is not a folder"):
        find_source(tmp_path / "absent", get_dataset("breastmnist"))


def test_two_sources_side_by_side_are_not_chosen_between(tmp_path: Path) -> None:
    touch(tmp_path, "a/Dataset_BUSI_with_GT/x", "b/Dataset_BUSI_with_GT/x")
    with pytest.raises(SourceError, match="several sources of breastmnist"):
        find_source(tmp_path, get_dataset("breastmnist"))
    assert find_source(tmp_path / "b", get_dataset("breastmnist")).root == tmp_path / "b"


def test_a_phantom_is_known_as_one_also_from_inside(tmp_path: Path) -> None:
    touch(tmp_path, "breastmnist/Dataset_BUSI_with_GT/malignant/malignant (1).png")
    facts = {"flag": "breastmnist", "scale": 0.1, "seed": 0, "images": 1}
    (tmp_path / "breastmnist" / "PHANTOM.json").write_text(json.dumps(facts))
    breast = get_dataset("breastmnist")
    for given in (tmp_path, tmp_path / "breastmnist", tmp_path / "breastmnist" / "Dataset_BUSI_with_GT"):
        assert find_source(given, breast).phantom == facts
    (tmp_path / "breastmnist" / "PHANTOM.json").write_text(json.dumps({**facts, "flag": "dermamnist"}))
    with pytest.raises(SourceError):
        find_source(tmp_path / "breastmnist", breast)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"flag": "breastmnist", "images": "many"}', "\xff"])
def test_a_damaged_phantom_mark_never_passes_for_real_data(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "x/Dataset_BUSI_with_GT/malignant/malignant (1).png")
    (tmp_path / "x" / "PHANTOM.json").write_text(text, encoding="latin-1")
    with pytest.raises(SourceError, match=r"PHANTOM\.json"):
        find_source(tmp_path, get_dataset("breastmnist"))


def test_read_text_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xff")
    listing = open_listing(tmp_path)
    for name, expected in (("a.csv", "not UTF-8"), ("b.csv", "no such file")):
        with pytest.raises(SourceError, match=expected):
            listing.read_text(name)


@pytest.mark.parametrize("place", ["beside", "below"])
def test_a_closed_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """In the source it may hold what belongs to it; beside it, it does no harm, and is named where nothing is there."""
    source = "Dataset_BUSI_with_GT" if place == "below" else "busi"
    touch(tmp_path, f"{source}/malignant/malignant (1).png")
    closed = tmp_path / (f"{source}/lost+found" if place == "below" else "lost+found")
    closed.mkdir()
    scandir, breast = os.scandir, get_dataset("breastmnist")

    def refuse(folder: object) -> object:
        if os.fspath(folder) == os.fspath(closed):  # type: ignore[call-overload]
            raise PermissionError(13, "permission denied", str(folder))
        return scandir(folder)  # type: ignore[call-overload]

    monkeypatch.setattr("mmtk.datasets.listing.os.scandir", refuse)
    if place == "below":
        with pytest.raises(SourceError, match=r"lost\+found: cannot be read: permission denied; "):
            find_source(tmp_path, breast)
    else:
        assert find_source(tmp_path, breast).names == ("malignant/malignant (1).png",)
        with pytest.raises(SourceError, match=r"but .*lost\+found could not be searched \(permission denied\); "):
            find_source(tmp_path, get_dataset("octmnist"))


def test_a_zip_that_cannot_be_looked_into_is_named(tmp_path: Path) -> None:
    (tmp_path / "busi.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(SourceError, match=r"but .*busi\.zip could not be searched \(File is not a zip file\)"):
        find_source(tmp_path, get_dataset("breastmnist"))


@pytest.mark.parametrize("closed", ["list", "scan"])
def test_a_source_that_is_closed_itself_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    def refuse(folder: object) -> None:
        raise PermissionError(13, "permission denied", str(folder))

    monkeypatch.setattr(f"mmtk.datasets.listing.os.{closed}dir", refuse)
    with pytest.raises(SourceError, match="cannot be read: permission denied"):
        open_listing(tmp_path)


def test_what_cuts_no_line_cuts_no_name(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\x0bb.png\nc\x85d.png\ne\u2028f.png\n", encoding="utf-8")
    assert open_listing(names).names == ("a\x0bb.png", "c\x85d.png", "e\u2028f.png")


@pytest.mark.parametrize("error", ["EMFILE", "EIO", "EACCES"])
def test_an_error_of_the_system_is_no_damage_of_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    listing = open_listing(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    monkeypatch.setattr(Path, "open", fail)
    number = getattr(errno, error)
    reason = reason_of(OSError(number, os.strerror(number)))
    told = re.escape(f"cannot be read: {reason}; {system_remedy(number)}") + "$"
    with pytest.raises(SourceError, match=told):
        listing.read_text("a.csv")
    with pytest.raises(SourceError, match=told):
        open_listing(tmp_path)  # which looks for the mark of a phantom


def test_a_pointer_in_place_of_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(SourceError, match=r"is a Git LFS pointer, not a .*; get the .* `git lfs pull`"):
        open_listing(tmp_path).read_text("a.csv")


def test_a_mark_of_a_phantom_without_end_is_damaged(tmp_path: Path) -> None:
    touch(tmp_path, "x.png")
    for text in ("[" * 60_000, '{"flag": "' + "x" * 100_000):
        (tmp_path / "PHANTOM.json").write_text(text)
        with pytest.raises(SourceError, match=r"PHANTOM\.json: is a damaged phantom description"):
            open_listing(tmp_path)


def test_a_name_of_thousands_of_digits_is_sorted() -> None:
    names = ["9" * 5000, "a10", "a9", "a 2", "a 10", "a009", "1" + "0" * 5000, "7", "0"]
    ordered = sorted(names, key=natural_key)
    assert ordered == ["0", "7", "9" * 5000, "1" + "0" * 5000, "a9", "a009", "a10", "a 2", "a 10"]


COLUMNS = ("lesion_id", "image_id")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_table_is_read_whatever_stands_between_its_columns(tmp_path: Path, mark: str, quoted: bool) -> None:
    """Marks that are others' in a name or a field do not mislead, and no character but a line end ends a line."""
    fields = [("age, years; sex", "image_id", "lesion_id"), ("1\x0b2\x85\u2028", "I1", "L1"), ("a,b\tc", "I2", "L2")]
    text = io.StringIO()
    csv.writer(text, delimiter=mark, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows(fields)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    rows = list(read_table(open_listing(tmp_path), "a.csv", COLUMNS))
    assert rows == [(f"{tmp_path}/a.csv line 2", ("L1", "I1")), (f"{tmp_path}/a.csv line 3", ("L2", "I2"))]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;"])
def test_a_first_line_may_name_what_stands_between_the_columns(tmp_path: Path, line: str) -> None:
    """As tables for Excel have it; lines are counted as an editor shows them."""
    (tmp_path / "a.csv").write_bytes(f"{line}\r\nlesion_id;image_id\r\nL1;I1\r\nL2;I2;3\r\n".encode("utf-8-sig"))
    rows = read_table(open_listing(tmp_path), "a.csv", COLUMNS)
    assert next(rows) == (f"{tmp_path}/a.csv line 3", ("L1", "I1"))
    with pytest.raises(SourceError, match=r"a.csv line 4: found 3 cells, expected 2"):
        next(rows)


def test_a_named_mark_counts_though_another_gives_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=|\nlesion_id|image_id|a;b\nL1|I,1|\n")
    assert [row for _, row in read_table(open_listing(tmp_path), "a.csv", COLUMNS)] == [("L1", "I,1")]


def test_a_table_without_its_columns_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("lesion_id|image_id\n")
    with pytest.raises(SourceError, match=r"its columns are lesion_id\|image_id.*; save it as CSV, with"):
        list(read_table(open_listing(tmp_path), "a.csv", COLUMNS))


def test_a_map_with_semicolons_is_read(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("split;index;image_id\ntrain;0;a;\n".replace("a;", "a"))
    given = read_map(tmp_path / "map.csv", get_dataset("breastmnist"))
    assert [row.source for row in given.rows["train"]] == ["a"]


def test_names_that_are_no_utf8_do_no_harm(tmp_path: Path) -> None:
    """In the path of a source, in a folder in it and in a file that is no image of the dataset."""
    source = write_phantom("breastmnist", tmp_path / "in", scale=0.001)
    (expected,) = mmtk.build("breastmnist", sources=source, out=tmp_path / "a")
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    shutil.copytree(source, strange)
    folder = next(strange.rglob("benign"))
    shutil.copy(next(folder.glob("benign (*).png")), os.fsdecode(os.fsencode(folder) + b"/benign \xe9.png"))
    folder.parent.joinpath(os.fsdecode(b"\xfe")).mkdir()
    folder.rename(folder.parent / os.fsdecode(b"\xfe") / "benign")
    (found,) = mmtk.build("breastmnist", sources=strange, out=tmp_path / "b")
    assert found.path.read_bytes() == expected.path.read_bytes()
    (surplus,) = found.findings
    assert surplus.name.encode().endswith(b"benign \\udce9.png")


def test_files_of_many_zips_are_found_without_a_look_at_each(tmp_path: Path) -> None:
    """A hundred thousand files in hundreds of zips would take as many looks as both together multiplied."""
    for number in (1, 2, 10):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "sub" / f"p{number}.zip", "w") as archive:
            archive.writestr("in/a.txt", f"{number}")
    touch(tmp_path, "sub/p1.zipped/b.txt")
    listing = open_listing(tmp_path)

    class Counted(dict):
        def items(self):
            raise AssertionError("all archives are looked through")

    listing = dataclasses.replace(listing, archives=Counted(listing.archives))
    assert [listing.read_text(f"sub/p{number}.zip/in/a.txt") for number in (1, 2, 10)] == ["1", "2", "10"]
    assert listing.path("sub/p1.zipped/b.txt") == tmp_path / "sub/p1.zipped/b.txt"


def test_the_patient_of_a_file_is_found_without_a_look_at_all_names(tmp_path: Path) -> None:
    for name in ("a/2.dcm", "a/sub/1.dcm", "a b/1.dcm", "b/1.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        dicoms.file(tmp_path / name.rpartition("/")[0], dicoms.noise(), name=name.rpartition("/")[2], PatientID=name)
    touch(tmp_path, "a/.DS_Store", "a/._2.dcm")
    looked = []

    class Counted(tuple):
        def __iter__(self):
            for name in tuple.__iter__(self):
                looked.append(name)
                yield name

        def __getitem__(self, at):
            looked.append(at)
            return tuple.__getitem__(self, at)

    listing = open_listing(tmp_path)
    listing = dataclasses.replace(listing, names=Counted((*listing.names, *(f"z/{n:06}.dcm" for n in range(20_000)))))
    assert [patient_of(listing, name) for name in ("a", "a b", "b/1.dcm")] == ["a/2.dcm", "a b/1.dcm", "b/1.dcm"]
    assert len(looked) < 200
