"""Folders and lists of names, and how a provider's folder is found among others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmtk.datasets import get_dataset
from mmtk.datasets.listing import find_source, open_listing
from mmtk.errors import SourceError


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
            raise PermissionError(13, "Permission denied", str(folder))

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
    with pytest.raises(SourceError, match="no folder"):
        find_source(tmp_path / "absent", get_dataset("breastmnist"))


def test_two_sources_side_by_side_are_not_chosen_between(tmp_path: Path) -> None:
    touch(tmp_path, "a/Dataset_BUSI_with_GT/x", "b/Dataset_BUSI_with_GT/x")
    with pytest.raises(SourceError, match="one source of breastmnist"):
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
    for name, expected in (("a.csv", "no UTF-8"), ("b.csv", "No such file")):
        with pytest.raises(SourceError, match=expected):
            listing.read_text(name)
