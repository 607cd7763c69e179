"""Draft a dataset file from what lies in a folder: what is known as keys, what is still to be said as comments."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from mmtk.datasets import find_dataset
from mmtk.datasets.base import Task
from mmtk.datasets.collecting import folder_of, is_junk, natural_key
from mmtk.datasets.listing import Listing, open_listing
from mmtk.datasets.own._files import ANYWHERE, SHEETS
from mmtk.datasets.own._labels import FLAG_WORDS
from mmtk.datasets.own.drafting._columns import TableLook, choose, look_at_tables
from mmtk.datasets.own.drafting._layout import Layout, lay_out
from mmtk.datasets.own.drafting._look import (
    LOOKS,
    SERIES,
    Things,
    are_hounsfield,
    is_text,
    look_at_images,
    look_at_volumes,
    pairs_among,
    sort_out,
)
from mmtk.datasets.own.drafting._pairs import Organs, Pairs, masks_among, organs_of, pair_up
from mmtk.datasets.own.drafting._toml import TODO, Page, as_toml
from mmtk.errors import SourceError
from mmtk.imaging import probe_dicom

_SHOWN = 5  # examples in a comment
_FEWEST = 3  # images of a class, one a split
_PER_VOLUME = 20  # images that weigh as much as a volume where both are there
_MODALITIES = {
    "CT": "CT", "MR": "MR", "DX": "X-ray", "CR": "X-ray", "MG": "mammography", "US": "ultrasound", "PT": "PET",
    "NM": "nuclear medicine", "OP": "fundus photography", "OPT": "OCT", "XA": "angiography", "SM": "microscopy",
}
_NO_SUBJECT = "No subject is known: images of one patient may come to lie in several splits."


def draft_dataset(folder: str | os.PathLike[str], table: str = "") -> str:
    """Write a dataset file for what lies in a folder, with what was seen and what is still to be said as comments.

    Parameters
    ----------
    folder : path-like
        Or a zip.
    table : str
        Which table to take, as a path inside the folder, where several describe the images. By default the best one.

    Returns
    -------
    str
        TOML for `mmtk.read_dataset`, the same for the same folder. What is marked TODO is still to be said; where
        nothing tells classes, they are empty and the file is refused until they are named.

    Raises
    ------
    SourceError
        If there is no such folder, or no images in it.
    ArgumentError
        If the table is not there, or names no images.

    Notes
    -----
    Of each kind of file at most 200 headers are read, evenly apart. Of patients nothing is read.
    """
    listing = open_listing(folder, unpack=False)
    things = sort_out(listing)
    return str(_Draft(listing, things, table).page)


class _Draft:
    """The page, and what was seen."""

    def __init__(self, listing: Listing, things: Things, wanted: str) -> None:
        self.listing, self.things, self.page = listing, things, Page()
        self.name = listing.root.name.removesuffix(".zip")
        if wanted:
            self.name += f" {wanted.rpartition('/')[2].rpartition('.')[0]}"
        self.volumes = bool(things.volumes or things.series) and (
            _PER_VOLUME * (len(things.volumes) + len(things.series)) >= len(things.images)
        )
        self.series = self.volumes and len(things.series) > len(things.volumes)
        names = things.series if self.series else things.volumes if self.volumes else things.images
        if not names:
            remedy = "give the folder that they lie in"
            expected = "images, volumes or DICOM files in it"
            found, _, better = pairs_among(listing.names).partition("; ")
            raise SourceError(listing.root, expected=expected, found=found or "none", remedy=better or remedy)
        self.exclude, self.masks = ([], set[str]()) if self.volumes else masks_among(names)
        self.names = names = tuple(name for name in names if name not in self.masks)
        self.look = look_at_volumes(listing, names, self.series) if self.volumes else look_at_images(
            listing, names, things.dicom
        )
        self.pairs = pair_up(listing, names) if self.volumes and not self.series else None
        self.hounsfield, self.span = False, ""
        if self.volumes and not self.series:
            images = [image for image, _ in self.pairs.pairs] if self.pairs else names
            self.hounsfield, self.span = are_hounsfield(listing, images)
        self.modality = self._modality()
        self.tables, self.unused = look_at_tables(listing, things.tables, names)
        chosen = choose(self.tables, things.tables, wanted)
        self.organs = organs_of(listing, [mask for _, mask in self.pairs.pairs]) if self.pairs else None
        self._say_what_is_there()
        if not chosen:
            self._say_of_unused()
        self.page.gap()
        if self.pairs and self.organs and not wanted and (len(self.organs.values) > 1 or not chosen):
            self._write_masks(self.pairs, self.organs)
        elif chosen and (chosen.tells or wanted):
            self._write_table(chosen)
        else:
            self._write_paths()

    # ------------------------------------------------------------- what was seen

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

    def _say_what_is_there(self) -> None:
        page, look = self.page, self.look
        page.say(f"A draft by mmtk of what lies in {self.listing.root.name}. Lines with TODO are still to be said.")
        page.say()
        unit = "DICOM series" if self.series else "volume" if self.volumes else "image"
        count = f"{look.total:,} {unit}{'' if self.series or look.total == 1 else 's'}"
        if look.looked < look.total:
            count += f", of which {look.looked} were looked at, at most {SERIES if self.series else LOOKS} of a kind"
        page.say(f"{count}:")
        for line in look.lines:
            page.say(line.strip(), "    " if line.startswith(" ") else "  ")
        if look.unread:
            page.say(f"{TODO}{len(look.unread)} of the {look.looked} cannot be read. mmtk build stops at such a file, "
                     "or leaves it out with --on-error skip.")
            for line in look.unread[:_SHOWN]:
                page.say(line.strip(), "    " if line.startswith(" ") else "  ")
        if look.crowded:
            page.say(f"{TODO}several DICOM series lie in a folder, such as {look.crowded[0]}: move each into a folder "
                     "of its own inside it, and draft again.")
        if pairs := pairs_among(self.listing.names):
            page.say(f"{TODO}left out: {pairs}.")
        if any(fact.placed for fact in look.dicom):
            page.say("Some are slices: to be cut as a volume, each series needs a folder of its own below this one.")
        if nameless := sum(not is_text(name) for name in self.listing.names):
            page.say(f"{TODO}{nameless:,} names of files are no UTF-8: rename them.")
        beside = {"images": 0 if not self.volumes else len(self.things.images),
                  "DICOM series": 0 if self.series else len(self.things.series),
                  "volumes": len(self.things.volumes) if not self.volumes or self.series else 0}
        if some := [f"{number:,} {kind}" for kind, number in beside.items() if number]:
            page.say(f"Also there, and left out: {' and '.join(some)}.")

    def _say_of_unused(self) -> None:
        sheets = [name for name in self.listing.names if name.lower().endswith(SHEETS) and not is_junk(name)]
        unused = {**self.unused, **dict.fromkeys(sheets, "save it as CSV")}
        for name in [*unused][:_SHOWN]:
            self.page.say(f"{TODO}{name} is not taken: {unused[name]}.")

    # ------------------------------------------------------------- parts of the file

    def _write_head(self, task: Task, classes: Sequence[str], about: str = "", note: str = "") -> None:
        page = self.page
        page.put("flag", _flag_of(self.name), "the name of its stores")
        page.put("title", _title_of(self.name))
        known = _MODALITIES.get(self.modality, "")
        kind = known or ("volumes" if self.volumes else "images")
        page.put("modality", kind, f"{TODO}of what, such as chest {known}" if known else
                 f"{TODO}what made them, such as {'MR of the brain' if self.volumes else 'chest X-ray'}")
        page.put("task", task.value, note)
        if classes or about:
            page.put("classes", list(classes), about)
        page.say(f"{TODO}to share it, say these three.")
        page.put("licence", "", 'such as "CC BY 4.0"')
        page.put("citation", "")
        page.put("page", "", "where it is described")

    def _write_classes(self, words: Sequence[str], counts: Sequence[int] | None, unit: str = "") -> None:
        """The head of a dataset with a class an image, or the gap where there is none."""
        if not words:
            lacking = "the classes: neither folders nor a table tell them"
            self._write_head(Task.BINARY, [], f'{TODO}{lacking}, such as ["normal", "sick"]')
            return
        numbers = ", ".join(f"{count:,}" for count in counts) if counts else ""
        unit = unit or ("volumes" if self.volumes else "images")
        about = f"{numbers} {unit}" if numbers else ""
        ordered = len(words) > 2 and all(re.search("[0-9]", word) for word in words)
        note = f'"{Task.ORDINAL}" if the classes are grades' if ordered else ""
        self._write_head(_task_of(words), [word.strip() for word in words], about, note)
        for word, count in zip(words, counts or (), strict=False):
            if count < _FEWEST:
                self.page.say(f"{TODO}{word} has {count}, too few for train, val and test: leave it out, or join it to "
                              "another class by names.")

    def _write_table(self, table: TableLook) -> None:
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
        page.put("column", table.column, _files_told(table, len(self.names), "volumes" if self.volumes else "images"))
        if table.strip:
            page.put("strip", table.strip, "with which paths start on the machine that wrote the table; left out")
        for key, text in (("prefix", table.prefix), ("suffix", table.suffix)):
            if text:
                page.put(key, text, "in whatever folder" if text == ANYWHERE else "")
        if table.labels:
            page.put("labels", table.labels)
        else:
            page.put("label", table.label, "" if table.label else f"{TODO}the column of the class")
        if table.separator:
            page.put("separator", table.separator, "between the labels of an image")
        if names:
            page.put("names", names, "words that mean none of the classes" if table.separator else
                     "what the values of the column mean")
        elif table.label and all(word.lower() in FLAG_WORDS for word in words):
            meant = as_toml({word: "sick" if FLAG_WORDS[word.lower()] else "normal" for word in words})
            page.say(f"{TODO}what the values mean: name the classes, and names = {meant}.")
        if table.unclear:
            what = "something else than 0 or 1" if table.labels else "no label"
            page.say(f"{TODO}{_rows(table.unclear)} {what}: fill in, or leave the rows out.")
        if table.spare:
            page.say(f"Columns that could be labels too: {', '.join(table.spare[:_SHOWN])}.")
        self._write_subject(table)
        self._write_given_split(table)
        if self.volumes:
            self._write_volumes()
        self._write_split(table.parts if table.split else (), table.subjects)
        self._write_recipe()

    def _say_of_tables(self, table: TableLook) -> None:
        others = [look.file for look in self.tables if look is not table]
        if others:
            shown = ", ".join(others[:_SHOWN])
            self.page.say(f"Other tables name the files too: {shown}. mmtk draft DIR --table FILE takes one of them.")

    def _write_subject(self, table: TableLook) -> None:
        page = self.page
        if table.subject:
            page.put("subject", table.subject, f"{table.subjects:,} of them; none comes to lie in two splits")
            if table.blank:
                page.say(f"{TODO}{_rows(table.blank)} no subject: fill in, or leave the rows out.")
            return
        self._say_no_subject('subject = "patient"  # the column of the patient')

    def _say_no_subject(self, remedy: str) -> None:
        self.page.say(_NO_SUBJECT)
        if self.look.dicom or self.series:
            remedy = 'subject = "dicom"  # reads the patient\'s id in each file; it is read only if asked for so'
        self.page.say(remedy)

    def _write_given_split(self, table: TableLook) -> None:
        if not table.split:
            return
        if not {"train", "test"} <= set(table.parts):
            self.page.say(f"The column {table.split} names no train and test: it is not taken.")
            table.split = ""
            return
        self.page.put("split", table.split, f"{', '.join(table.parts)}, as the source gives them")
        if table.crossing:
            self.page.say(f"{TODO}{table.crossing:,} subjects stand in several splits: leave split out, or mend it.")

    def _write_paths(self) -> None:
        page = self.page
        everything = [name for name in self.listing.names if not is_junk(name) and name not in self.masks]
        layout = lay_out(self.names, everything, self.series)
        words = layout.classes
        self._write_classes(words, layout.counts if words else None)
        page.table("images")
        if self.tables:
            tables = ", ".join(look.file for look in self.tables[:_SHOWN])
            page.say(f"Tables that name the files, but no label of theirs: {tables}.")
        files = layout.patterns[0] if len(layout.patterns) == 1 else layout.patterns
        page.put("files", files, "folders of DICOM series" if self.series else "")
        if not words:
            page.say("Move the files into a folder a class, or write a table with a row a file.")
        if layout.left:
            page.say(f"{layout.left:,} lie deeper, or less deep, and are left out. files may be several patterns.")
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
            where = "Names of files start with ids" if layout.in_names else "Folders are named as patients are"
            page.say(f"{where}: {layout.subjects:,} subjects, none of which comes to lie in two splits.")
        elif layout.crossing:
            page.say(f"What looks like ids of subjects stands in several splits, {layout.crossing:,} times: it is not "
                     "taken.")
        elif self.volumes:
            page.say("Each volume is taken for a patient of its own.")
            if self.series:
                self.page.say('subject = "dicom"  # reads the patient\'s id in each series; only if asked for so')
        else:
            self._say_no_subject('subject = "^(?:.*/)?([^/_]+)_"  # a regular expression of paths; its first group')

    def _write_masks(self, pairs: Pairs, organs: Organs) -> None:
        page = self.page
        names = {f"organ_{value}": value for value in organs.values}
        if len(names) < 2:
            self._write_head(Task.BINARY, [], f"{TODO}two classes at least: one organ alone is nothing to tell apart")
        else:
            self._write_head(_task_of([*names]), [], note=f"{len(names)} organs, which are named below")
        self._write_volumes(pairs, organs)
        page.table("volumes.organs")
        page.say(f"{TODO}name the organs; several values may make one, as in liver = [1, 2].")
        for name, value in names.items():
            page.put(name, value)
        if organs.rare:
            shown = ", ".join(map(str, organs.rare[:50])) + (", ..." if len(organs.rare) > 50 else "")
            page.say(f"Left out, as in few of the {organs.looked} masks looked at, or too small there: {shown}.")
        self._write_split((), len(pairs.pairs))
        self._write_recipe()

    def _write_volumes(self, pairs: Pairs | None = None, organs: Organs | None = None) -> None:
        page = self.page
        page.table("volumes")
        if pairs is not None:
            page.put("image", pairs.image)
            page.put("mask", pairs.mask)
            page.say(f"{len(pairs.pairs):,} volumes with masks; {{subject}} is the patient.")
            if pairs.lone:
                page.say(f"{TODO}{len(pairs.lone):,} have no mask, such as {pairs.lone[0]}: move them elsewhere.")
            if pairs.others:
                page.say(f"Left out: {len(pairs.others):,} other volumes, such as {pairs.others[0]}.")
        if organs is not None and organs.unread:
            page.say(f"{TODO}masks that cannot be read:")
            for line in organs.unread[:_SHOWN]:
                page.say(line.strip(), "    " if line.startswith(" ") else "  ")
        page.put("plane", "axial", 'or "coronal", "sagittal"')
        headers = self.look.volumes
        if headers and not (all(header.axes for header in headers) and (organs is None or organs.axes)):
            page.put("orientation", "file", "not all headers tell how the patient lies")
        if headers and not all(all(header.spacing) for header in headers) and pairs is None:
            page.put("crop", "none", "not all headers tell the size of a voxel")
        page.say("spacing = 5  # mm between the slices that are taken; by default each slice is")

    def _write_split(self, parts: Sequence[str], subjects: int) -> None:
        page = self.page
        given = "train" in parts and "test" in parts
        page.table("split")
        if given and "val" not in parts:
            page.put("val", 10, "percent of train, as the source gives train and test alone")
        elif given:
            page.say(f"As the source gives it: {', '.join(sorted(parts, key=natural_key))}.")
        else:
            if parts:
                page.say(f"The source gives {' and '.join(parts)} alone: not taken, as train and test are needed.")
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
        mixed = f"; {look.grey:,} of those looked at are grey" if colour and look.grey else ""
        page.put("colour", "rgb" if colour else "grey", f'or "{"grey" if colour else "rgb"}"{mixed}')
        page.put("crop", "centre", 'the centre square; "none" squeezes all of the image into a square')
        page.put("filter", "bilinear")

    def _write_window(self) -> None:
        page, look = self.page, self.look
        if not (self.volumes or look.deep or look.dicom):
            return
        page.table("window")
        if self.span:
            page.say(f"Values of the first volumes: {self.span}.")
        if self.modality == "CT":
            page.say("Hounsfield units: this is the window of soft tissue; of lung, level = -600 and width = 1500.")
            page.put("level", 50)
            page.put("width", 400)
        elif look.dicom and len(look.dicom) == look.looked - len(look.unread) and all(f.windowed for f in look.dicom):
            page.put("from", "dicom", "or level and width, or percentiles = [0.5, 99.5]")
        else:
            page.put("percentiles", [0.5, 99.5], "that become black and white, image by image; or level and width")


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def _task_of(words: Sequence[str]) -> Task:
    return Task.BINARY if len(words) == 2 else Task.MULTICLASS


def _files_told(table: TableLook, total: int, kind: str) -> str:
    told = f"{len(table.images):,} of the {total:,} {kind}"
    lost = f"; {TODO}{_rows(table.lost)} a file that is not there (build: --allow-partial)"
    return told + lost if table.lost else told


def _classes_of(table: TableLook) -> tuple[list[str], dict[str, str]]:
    """The words of a column of labels in their order, and names for them where they say yes and no."""
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


def _flag_of(name: str) -> str:
    """A folder's name as a flag that is not taken."""
    flag = re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") or "data"
    flag = (flag if flag[0].isalpha() else f"data_{flag}")[:60]
    return f"{flag}_own" if find_dataset(flag) is not None else flag


def _title_of(name: str) -> str:
    title = " ".join("".join(c if c.isprintable() else " " for c in name).replace("_", " ").split())
    return title[:1].upper() + title[1:] or "Data"
