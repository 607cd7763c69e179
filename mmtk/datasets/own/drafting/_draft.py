"""Draft a dataset file for a folder: known facts become keys, open questions become comments."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from mmtk.datasets.base import Task
from mmtk.datasets.collecting import folder_of, is_junk, natural_key
from mmtk.datasets.listing import Listing, open_listing
from mmtk.datasets.own._files import ANYWHERE, SHEETS
from mmtk.datasets.own._labels import FLAG_WORDS
from mmtk.datasets.own.drafting._columns import TableSummary, choose, summarize_tables
from mmtk.datasets.own.drafting._layout import Layout, infer_layout
from mmtk.datasets.own.drafting._look import (
    MAX_HEADERS,
    MAX_SERIES,
    FolderContents,
    are_hounsfield,
    classify_files,
    hdr_img_pairs,
    is_text,
    summarize_images,
    summarize_volumes,
)
from mmtk.datasets.own.drafting._names import flag_of, title_of
from mmtk.datasets.own.drafting._pairs import Organs, Pairs, find_masks, organs_of, pair_up
from mmtk.datasets.own.drafting._toml import TODO, Page, as_toml
from mmtk.errors import SourceError
from mmtk.imaging import probe_dicom

_SHOWN = 5  # examples in a comment
_FEWEST = 3  # smallest number of images of a class, one per split
_PER_VOLUME = 20  # number of images that counts as much as a volume if a folder has both
_MODALITIES = {
    "CT": "CT", "MR": "MR", "DX": "X-ray", "CR": "X-ray", "MG": "mammography", "US": "ultrasound", "PT": "PET",
    "NM": "nuclear medicine", "OP": "fundus photography", "OPT": "OCT", "XA": "angiography", "SM": "microscopy",
}
_NO_SUBJECT = "No subjects are known: images of the same patient may end up in several splits."


def draft_dataset(folder: str | os.PathLike[str], table: str = "") -> str:
    """Draft a dataset file for a folder, with observations and open questions as comments.

    Parameters
    ----------
    folder : path-like
        A folder or a zip.
    table : str
        The table to use, as a path inside the folder, if several describe the images. By default the best one.

    Returns
    -------
    str
        TOML for `mmtk.read_dataset`, always the same for the same folder. Lines marked TODO have to be completed; if
        the classes cannot be inferred, they are empty and the file is refused until they are filled in.

    Raises
    ------
    SourceError
        If the folder does not exist or contains no images.
    ArgumentError
        If the table does not exist or does not list images.

    Notes
    -----
    At most 200 headers are read per kind of file, evenly spaced. Nothing about patients is read.

    Examples
    --------
    >>> import mmtk
    >>> from pathlib import Path
    >>> folder = next(path.parent for path in Path("sources").rglob("benign") if path.is_dir())
    >>> draft = mmtk.draft_dataset(folder)
    >>> print(next(line for line in draft.splitlines() if line.startswith("files")))
    files = "{class}/*"
    """
    listing = open_listing(folder, unpack=False)
    return str(_Draft(listing, classify_files(listing), table).page)


class _Draft:
    """The page, and the observations that it is written from."""

    def __init__(self, listing: Listing, contents: FolderContents, wanted: str) -> None:
        self.listing, self.contents, self.page = listing, contents, Page()
        self.name = listing.root.name.removesuffix(".zip")
        if wanted:
            self.name += f" {wanted.rpartition('/')[2].rpartition('.')[0]}"
        self.volumes = bool(contents.volumes or contents.series) and (
            _PER_VOLUME * (len(contents.volumes) + len(contents.series)) >= len(contents.images)
        )
        self.series = self.volumes and len(contents.series) > len(contents.volumes)
        names = contents.series if self.series else contents.volumes if self.volumes else contents.images
        if not names:
            pairs, _, remedy = hdr_img_pairs(listing.names).partition("; ")
            problem = "contains no images, volumes or DICOM files" + (f", only {pairs}" if pairs else "")
            raise SourceError(listing.root, problem, remedy=remedy or "give the folder that contains them")
        self.exclude, self.masks = ([], set[str]()) if self.volumes else find_masks(names)
        self.names = names = tuple(name for name in names if name not in self.masks)
        self.look = summarize_volumes(listing, names, self.series) if self.volumes else summarize_images(
            listing, names, contents.dicom
        )
        self.pairs = pair_up(listing, names) if self.volumes and not self.series else None
        self.hounsfield, self.span = False, ""
        if self.volumes and not self.series:
            images = [image for image, _ in self.pairs.pairs] if self.pairs else names
            self.hounsfield, self.span = are_hounsfield(listing, images)
        self.modality = self._modality()
        self.tables, self.unused = summarize_tables(listing, contents.tables, names)
        chosen = choose(self.tables, contents.tables, wanted)
        self.organs = organs_of(listing, [mask for _, mask in self.pairs.pairs]) if self.pairs else None
        self._say_contents()
        if not chosen:
            self._say_of_unused()
        self.page.gap()
        if self.pairs and self.organs and not wanted and (len(self.organs.values) > 1 or not chosen):
            self._write_masks(self.pairs, self.organs)
        elif chosen and (chosen.has_labels or wanted):
            self._write_table(chosen)
        else:
            self._write_paths()

    # ------------------------------------------------------------- observations

    def _modality(self) -> str:
        modalities = Counter(fact.modality for fact in self.look.dicom)
        if self.series:
            folder = self.names[0]
            inside = [name for name in self.listing.names if folder_of(name) == folder and not is_junk(name)]
            for name in inside:
                try:
                    modalities[probe_dicom(self.listing.path(name)).modality] += 1
                    break
                except SourceError:
                    continue
        return modalities.most_common(1)[0][0] if modalities else "CT" if self.hounsfield else ""

    def _say_contents(self) -> None:
        page, look = self.page, self.look
        page.say(f"A draft by mmtk for {self.listing.root.name}. Complete the lines marked TODO.")
        page.say()
        unit = "DICOM series" if self.series else "volume" if self.volumes else "image"
        count = f"{look.total:,} {unit}{'' if self.series or look.total == 1 else 's'}"
        if look.examined < look.total:
            most = MAX_SERIES if self.series else MAX_HEADERS
            count += f", of which {look.examined} were examined (at most {most} per kind)"
        page.say(f"{count}:")
        for line in look.lines:
            page.say(line.strip(), "    " if line.startswith(" ") else "  ")
        if look.unread:
            page.say(f"{TODO}{len(look.unread)} of the {look.examined} cannot be read. mmtk build stops at such a "
                     "file, or leaves it out with --on-error skip.")
            for line in look.unread[:_SHOWN]:
                page.say(line.strip(), "    " if line.startswith(" ") else "  ")
        if look.mixed:
            page.say(f"{TODO}some folders contain several DICOM series, such as {look.mixed[0]}: move each series into "
                     "its own subfolder, and draft again.")
        if pairs := hdr_img_pairs(self.listing.names):
            page.say(f"{TODO}left out: {pairs}.")
        if any(fact.placed for fact in look.dicom):
            page.say("Some images are slices: to build them as volumes, give each series its own subfolder.")
        if nameless := sum(not is_text(name) for name in self.listing.names):
            page.say(f"{TODO}{nameless:,} file names are not UTF-8: rename them.")
        others = {"images": 0 if not self.volumes else len(self.contents.images),
                  "DICOM series": 0 if self.series else len(self.contents.series),
                  "volumes": len(self.contents.volumes) if not self.volumes or self.series else 0}
        if some := [f"{number:,} {kind}" for kind, number in others.items() if number]:
            page.say(f"Also present, but left out: {' and '.join(some)}.")

    def _say_of_unused(self) -> None:
        sheets = [name for name in self.listing.names if name.lower().endswith(SHEETS) and not is_junk(name)]
        unused = {**self.unused, **dict.fromkeys(sheets, "save it as CSV")}
        for name in [*unused][:_SHOWN]:
            self.page.say(f"{TODO}{name} is not used: {unused[name]}.")

    # ------------------------------------------------------------- parts of the file

    def _write_head(self, task: Task, classes: Sequence[str], about: str = "", note: str = "") -> None:
        page = self.page
        page.put("flag", flag_of(self.name), "names the stores")
        page.put("title", title_of(self.name))
        known = _MODALITIES.get(self.modality, "")
        kind = known or ("volumes" if self.volumes else "images")
        page.put("modality", kind, f"{TODO}add the body part, such as chest {known}" if known else
                 f"{TODO}modality and body part, such as {'MR of the brain' if self.volumes else 'chest X-ray'}")
        page.put("task", task.value, note)
        if classes or about:
            page.put("classes", list(classes), about)
        page.say(f"{TODO}to share it, fill in these three.")
        page.put("licence", "", 'such as "CC BY 4.0"')
        page.put("citation", "")
        page.put("page", "", "a web page that describes it")

    def _write_classes(self, words: Sequence[str], counts: Sequence[int] | None, unit: str = "") -> None:
        """Write the head of a dataset with one class per image; the classes may be unknown."""
        if not words:
            lacking = "neither folders nor a table give the classes"
            self._write_head(Task.BINARY, [], f'{TODO}{lacking}: name them, such as ["normal", "sick"]')
            return
        numbers = ", ".join(f"{count:,}" for count in counts) if counts else ""
        unit = unit or ("volumes" if self.volumes else "images")
        about = f"{numbers} {unit}" if numbers else ""
        ordered = len(words) > 2 and all(re.search("[0-9]", word) for word in words)
        note = f'"{Task.ORDINAL}" if the classes are grades' if ordered else ""
        self._write_head(_task_of(words), [word.strip() for word in words], about, note)
        for word, count in zip(words, counts or (), strict=False):
            if count < _FEWEST:
                self.page.say(f"{TODO}{word} has {count}, too few for train, val and test: leave it out, or merge it "
                              "with another class by names.")

    def _write_table(self, table: TableSummary) -> None:
        page = self.page
        words, names = _classes_of(table)
        if table.labels:
            counts = ", ".join(f"{table.counts[name]:,}" for name in table.labels)
            self._write_head(Task.MULTILABEL, table.labels, f"{counts} of {table.rows:,} rows are 1")
        elif table.separator:
            counts = ", ".join(f"{table.counts[name]:,}" for name in words)
            self._write_head(Task.MULTILABEL, words, f"{counts} of {table.rows:,} rows")
        else:
            merged = Counter[str]()
            for word in words:
                merged[names.get(word, word)] += table.counts[word]
            self._write_classes([*merged], [*merged.values()], "rows" if table.lost else "")
        page.table("table")
        self._say_of_tables(table)
        page.put("file", table.file)
        page.put("column", table.column, _coverage(table, len(self.names), "volumes" if self.volumes else "images"))
        if table.strip:
            page.put("strip", table.strip, "the start of the paths on another machine, which is removed")
        for key, text in (("prefix", table.prefix), ("suffix", table.suffix)):
            if text:
                page.put(key, text, "in any folder" if text == ANYWHERE else "")
        if table.labels:
            page.put("labels", table.labels)
        else:
            page.put("label", table.label, "" if table.label else f"{TODO}name the column with the class")
        if table.separator:
            page.put("separator", table.separator, "between the labels of an image")
        if names:
            page.put("names", names, "words that mean none of the classes" if table.separator else
                     "what the values of the column mean")
        elif table.label and all(word.lower() in FLAG_WORDS for word in words):
            meant = as_toml({word: "sick" if FLAG_WORDS[word.lower()] else "normal" for word in words})
            page.say(f"{TODO}say what the values mean: name the classes, and set names = {meant}.")
        if table.unclear:
            what = "labels other than 0 or 1: correct them" if table.labels else "no label: fill them in"
            page.say(f"{TODO}{_rows(table.unclear)} {what}, or leave the rows out.")
        if table.spare:
            page.say(f"Other columns that could be labels: {', '.join(table.spare[:_SHOWN])}.")
        self._write_subject(table)
        self._write_given_split(table)
        if self.volumes:
            self._write_volumes()
        self._write_split(table.parts if table.split else (), table.subjects)
        self._write_recipe()

    def _say_of_tables(self, table: TableSummary) -> None:
        others = [look.file for look in self.tables if look is not table]
        if others:
            shown = ", ".join(others[:_SHOWN])
            self.page.say(f"Other tables list the files, too: {shown}. Use one with mmtk draft DIR --table FILE.")

    def _write_subject(self, table: TableSummary) -> None:
        page = self.page
        if table.subject:
            page.put("subject", table.subject, f"{table.subjects:,} subjects, each in a single split")
            if table.blank:
                page.say(f"{TODO}{_rows(table.blank)} no subject: fill them in, or leave the rows out.")
            return
        self._say_no_subject('subject = "patient"  # the column with the patient')

    def _say_no_subject(self, remedy: str) -> None:
        self.page.say(_NO_SUBJECT)
        if self.look.dicom or self.series:
            remedy = 'subject = "dicom"  # reads the patient ID in each file, which is not read otherwise'
        self.page.say(remedy)

    def _write_given_split(self, table: TableSummary) -> None:
        if not table.split:
            return
        if not {"train", "test"} <= set(table.parts):
            self.page.say(f"The column {table.split} is not used, since it does not have both train and test.")
            table.split = ""
            return
        self.page.put("split", table.split, f"{', '.join(table.parts)}, given by the source")
        if table.crossing:
            self.page.say(f"{TODO}{table.crossing:,} subjects are in several splits: leave split out, or correct it.")

    def _write_paths(self) -> None:
        page = self.page
        everything = [name for name in self.listing.names if not is_junk(name) and name not in self.masks]
        layout = infer_layout(self.names, everything, self.series)
        words = layout.classes
        self._write_classes(words, layout.counts if words else None)
        page.table("images")
        if self.tables:
            tables = ", ".join(look.file for look in self.tables[:_SHOWN])
            page.say(f"Tables that list the files, but have no labels: {tables}.")
        files = layout.patterns[0] if len(layout.patterns) == 1 else layout.patterns
        page.put("files", files, "folders of DICOM series" if self.series else "")
        if not words:
            page.say("Move the files into one folder per class, or write a table with one row per file.")
        if layout.left:
            page.say(f"{layout.left:,} at other folder depths are left out; files may be a list of patterns.")
        if self.exclude:
            page.put("exclude", self.exclude[0] if len(self.exclude) == 1 else self.exclude,
                     f"{len(self.masks):,} that look like masks")
        self._say_subjects(layout)
        if self.volumes:
            self._write_volumes()
        self._write_split(layout.parts, layout.subjects)
        self._write_recipe()

    def _say_subjects(self, layout: Layout) -> None:
        page = self.page
        if layout.subjects:
            where = "File names start with ids" if layout.in_names else "Folders are named like patients"
            page.say(f"{where}: {layout.subjects:,} subjects, each in a single split.")
        elif layout.crossing:
            page.say(f"{layout.crossing:,} ids in paths are in several splits, so they are not used as subjects.")
        elif self.volumes:
            page.say("Each volume is assumed to be a different patient.")
            if self.series:
                self.page.say('subject = "dicom"  # reads the patient ID in each series, which is not read otherwise')
        else:
            self._say_no_subject('subject = "^(?:.*/)?([^/_]+)_"  # a regular expression whose first group it is')

    def _write_masks(self, pairs: Pairs, organs: Organs) -> None:
        page = self.page
        names = {f"organ_{value}": value for value in organs.values}
        if len(names) < 2:
            self._write_head(Task.BINARY, [], f"{TODO}at least two classes are needed, but there is a single organ")
        else:
            self._write_head(_task_of([*names]), [], note=f"{len(names)} organs, see below")
        self._write_volumes(pairs, organs)
        page.table("volumes.organs")
        page.say(f"{TODO}name the organs; one organ may have several values, as in liver = [1, 2].")
        for name, value in names.items():
            page.put(name, value)
        if organs.rare:
            shown = ", ".join(map(str, organs.rare[:50])) + (", ..." if len(organs.rare) > 50 else "")
            page.say(f"Left out, since rare or too small in the {organs.examined} masks examined: {shown}.")
        self._write_split((), len(pairs.pairs))
        self._write_recipe()

    def _write_volumes(self, pairs: Pairs | None = None, organs: Organs | None = None) -> None:
        page = self.page
        page.table("volumes")
        if pairs is not None:
            page.put("image", pairs.image)
            page.put("mask", pairs.mask)
            page.say(f"{len(pairs.pairs):,} volumes with masks; {{subject}} is the patient.")
            if pairs.unpaired:
                page.say(f"{TODO}{len(pairs.unpaired):,} have no mask, such as {pairs.unpaired[0]}: move them away.")
            if pairs.others:
                page.say(f"Left out: {len(pairs.others):,} other volumes, such as {pairs.others[0]}.")
        if organs is not None and organs.unread:
            page.say(f"{TODO}masks that cannot be read:")
            for line in organs.unread[:_SHOWN]:
                page.say(line.strip(), "    " if line.startswith(" ") else "  ")
        page.put("plane", "axial", 'or "coronal", "sagittal"')
        headers = self.look.volumes
        if headers and not (all(header.axes for header in headers) and (organs is None or organs.axes)):
            page.put("orientation", "file", "not all headers give the orientation of the patient")
        if headers and not all(all(header.spacing) for header in headers) and pairs is None:
            page.put("crop", "none", "not all headers give the voxel size")
        page.say("spacing = 5  # mm between slices; by default every slice is used")

    def _write_split(self, parts: Sequence[str], subjects: int) -> None:
        page = self.page
        given = "train" in parts and "test" in parts
        page.table("split")
        if given and "val" not in parts:
            page.put("val", 10, "percent of train, since the source only gives train and test")
        elif given:
            page.say(f"Given by the source: {', '.join(sorted(parts, key=natural_key))}.")
        else:
            if parts:
                page.say(f"The source only gives {' and '.join(parts)}; not used, since train and test are needed.")
            page.put("shares", [70, 10, 20], f"percent of train, val and test{', by subject' if subjects else ''}")
        page.put("seed", 0)

    def _write_recipe(self) -> None:
        self._write_window()
        page, look = self.page, self.look
        page.table("recipe")
        if self.volumes:
            page.put("filter", "bilinear")
            return
        colour = bool(look.colour) and not (look.deep or look.dicom)
        mixed = f"; {look.grey:,} of those examined are grey" if colour and look.grey else ""
        page.put("colour", "rgb" if colour else "grey", f'or "{"grey" if colour else "rgb"}"{mixed}')
        page.put("crop", "centre", 'the centre square; "none" squeezes the whole image into a square')
        page.put("filter", "bilinear")

    def _write_window(self) -> None:
        page, look = self.page, self.look
        if not (self.volumes or look.deep or look.dicom):
            return
        page.table("window")
        if self.span:
            page.say(f"Values of the first volumes: {self.span}.")
        if self.modality == "CT":
            page.say("Hounsfield units: this is the soft tissue window; for lung, level = -600 and width = 1500.")
            page.put("level", 50)
            page.put("width", 400)
        elif look.dicom and len(look.dicom) == look.examined - len(look.unread) and all(f.windowed for f in look.dicom):
            page.put("from", "dicom", "or level and width, or percentiles = [0.5, 99.5]")
        else:
            page.put("percentiles", [0.5, 99.5], "that become black and white in each image; or level and width")


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def _task_of(words: Sequence[str]) -> Task:
    return Task.BINARY if len(words) == 2 else Task.MULTICLASS


def _coverage(table: TableSummary, total: int, kind: str) -> str:
    text = f"{len(table.images):,} of the {total:,} {kind}"
    lost = f"; {TODO}{_rows(table.lost)} a file that does not exist (build: --allow-partial)"
    return text + lost if table.lost else text


def _classes_of(table: TableSummary) -> tuple[list[str], dict[str, str]]:
    """The words of a column of labels in order, and names for them if they mean yes and no."""
    words = sorted(table.counts, key=natural_key)
    if table.separator:
        return [word for word in words if word not in table.none], dict.fromkeys(table.none, "")
    common: dict[str, str] = {}
    for word in sorted(words, key=lambda word: -table.counts[word]):
        common.setdefault(word.lower(), word)
    if len(common) < len(words):  # spelled in several ways
        return words, {word: common[word.lower()] for word in words if common[word.lower()] != word}
    if table.labels or not words or not all(word.lower() in FLAG_WORDS for word in words) or table.generic:
        return words, {}
    return words, {word: table.label if FLAG_WORDS[word.lower()] else f"no {table.label}" for word in words}
