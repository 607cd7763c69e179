"""Which table describes images, and what its columns are: file, labels, subject and split."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mmtk.datasets.collecting import natural_key
from mmtk.datasets.delimiters import named_delimiter
from mmtk.datasets.listing import Listing
from mmtk.datasets.own._files import ANYWHERE, is_absolute
from mmtk.datasets.own._labels import FLAG_WORDS, SPLIT_WORDS
from mmtk.datasets.own.drafting._look import ending_of
from mmtk.datasets.own.drafting._pairs import common_start
from mmtk.errors import ArgumentError, SourceError

_DELIMITERS = ",;\t"
_MOST_CLASSES = 100
_MOST = 0.9  # of the files that a column names, those with the same prefix
_NONE = re.compile(r"(?:no|none|not|nothing|normal|healthy|negative)\b", re.IGNORECASE)  # words for no finding
_CLOSE = 20  # files that a word is tried on
_LABELS = ("label", "class", "diagnosis", "dx", "target", "outcome", "category", "finding", "disease", "pathology",
           "grade", "stage", "group", "y")
_SUBJECTS = ("patient", "subject", "participant", "person", "mrn", "pid", "case", "study", "lesion")
_SPLITS = {"split", "set", "subset", "partition", "part", "fold", "usage", "dataset"}
_SEPARATORS = "|;,"
_ASIDE = {"sex", "gender", "age", "view", "position", "side", "laterality", "site", "hospital", "scanner", "device",
          "manufacturer", "date", "time", "year", "width", "height", "weight", "size", "name", "birth", "comment",
          "notes", "index", "id", "race", "ethnicity", "orientation", "rows", "columns", "age_group",
          "spacing"}


@dataclass
class TableLook:
    """What a table says of the images.

    Attributes
    ----------
    strip : str
        What its paths start with on another machine.
    images : set of str
        Those that it names.
    lost : int
        Rows whose file is not there.
    labels : list of str
        Columns of 0 and 1, where there are several.
    counts : Counter
        Rows of each label, or of each column that is 1.
    unclear : int
        Rows whose label is blank or, of 0 and 1, anything else.
    parts : tuple of str
        Splits that its column of splits names.
    crossing : int
        Subjects in several of those.
    spare : list of str
        Columns that could be labels too.
    separator : str
        What stands between the labels in a cell, where some have several.
    none : list of str
        Words among those that mean no label.
    """

    file: str
    rows: int
    column: str
    strip: str
    prefix: str
    suffix: str
    images: set[str]
    lost: int
    label: str = ""
    labels: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unclear: int = 0
    subject: str = ""
    subjects: int = 0
    blank: int = 0
    split: str = ""
    parts: tuple[str, ...] = ()
    crossing: int = 0
    spare: list[str] = field(default_factory=list)
    separator: str = ""
    none: list[str] = field(default_factory=list)

    @property
    def tells(self) -> bool:
        """Whether it gives labels."""
        return bool(self.label or self.labels)

    @property
    def generic(self) -> bool:
        """Whether the column of labels has a name that says nothing of what is told apart."""
        return _rank(self.label, _LABELS) < len(_LABELS)


def look_at_tables(
    listing: Listing, tables: Sequence[str], names: Sequence[str]
) -> tuple[list[TableLook], dict[str, str]]:
    """The tables that name images, or volumes, the best one first; and why the others do not."""
    index = _index(names)
    looks, others = [], {}
    for table in tables:
        try:
            looks.append(_look(listing, table, index, len(names)))
        except _NoTableError as error:
            if str(error):
                others[table] = str(error)
    return sorted(looks, key=lambda t: (
        not t.tells, -len(t.images), _rank(t.label, _LABELS) if t.label else len(_LABELS), not t.subject,
        t.file.count("/"), natural_key(t.file),
    )), others


class _NoTableError(Exception):
    """Why a text does not describe images; empty where it is no table at all."""


def choose(looks: Sequence[TableLook], tables: Sequence[str], wanted: str) -> TableLook | None:
    """The table that is asked for, or the best one.

    Raises
    ------
    ArgumentError
        If the table asked for is not there, or names no images.
    """
    if not wanted:
        return looks[0] if looks else None
    wanted = wanted.removeprefix("./")
    for look in looks:
        if look.file == wanted:
            return look
    known = ", ".join(look.file for look in looks) or "none"
    found = "a table whose rows name no files" if wanted in tables else "no such table"
    raise ArgumentError(f"--table {wanted}", expected=f"a table that names images: {known}", found=found)


def _index(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what a table may call them: a part of the path, with its ending or without."""
    index: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = name.split("/")
        words = {*parts, parts[-1].removesuffix(ending_of(parts[-1]))}
        if ending := ending_of(parts[-1]):
            words.add(parts[-1][: -len(ending)])
        for word in words:
            if len(index[word]) < _CLOSE:
                index[word].append(name)
    return index


def _look(listing: Listing, table: str, index: dict[str, list[str]], total: int) -> TableLook:
    try:
        rows = _rows(listing.read_text(table))
    except SourceError as error:
        raise _NoTableError(str(error).removeprefix(f"{error.what}: ")) from None
    except csv.Error as error:
        raise _NoTableError(f"it is no CSV file: {error}") from None
    if len(rows[0]) < 2:
        raise _NoTableError("" if table.lower().endswith(".txt") else "it has a single column")
    if any(head in index for head in rows[0]):
        raise _NoTableError("its first line is a row, where it should name the columns: add such a line")
    best: TableLook | None = None
    reasons = [(0, f"none of its columns names them: {', '.join(rows[0])}")]
    enough = max(2, min(len(rows), total) / 2)
    for column in rows[0]:
        strip, values = _relative([row[column] for row in rows])
        prefix, suffix, images = _affixes(values, index)
        if len(images) < enough:
            reasons += _nearly(column, values, index)
        elif len(set(values)) < len(values):
            told = f"column {column} names some of them several times, where a row an image is needed"
            reasons.append((len(images), told))
        elif best is None or (len(images), suffix == "") > (len(best.images), best.suffix == ""):
            best = TableLook(table, len(rows), column, strip, prefix, suffix, images, len(rows) - len(images))
    if best is None:
        raise _NoTableError(max((count, reason) for count, reason in reasons if not count or count >= enough)[1])
    _tell_columns(best, rows)
    return best


def _nearly(column: str, values: Sequence[str], index: Mapping[str, list[str]]) -> Iterator[tuple[int, str]]:
    """How many files a column would name if words were written as files are, and what is different."""
    words = {value.rpartition("/")[2] for value in values}
    for form, what in (
        (str.lower, "small and capital letters: rename one of them"),
        (lambda word: word.lstrip("0") if word.isdigit() else word,
         "zeros at the start, which spreadsheets drop: fill them in"),
    ):
        there = {form(word) for word in index}
        yield sum(form(word) in there for word in words), f"column {column} names them but for {what}"


def _relative(values: Sequence[str]) -> tuple[str, list[str]]:
    """Paths with forward slashes, and what is to be left out at the start of those of another machine."""
    plain = [value.replace("\\", "/").removeprefix("./") for value in values]
    absolute = [path for path in plain if path]
    if not absolute or not all(map(is_absolute, absolute)):
        return "", plain
    start = common_start(absolute)
    strip = start[: start.rfind("/") + 1]
    return strip, [path.removeprefix(strip) for path in plain]


def _rows(text: str) -> list[dict[str, str]]:
    """The rows of a table by the names of its columns, but for blank ones."""
    mark, text, above = named_delimiter(text)
    first = text.partition("\n")[0]
    mark = mark or max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([first], delimiter=delimiter), ())))
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    reader.fieldnames = [head.strip() for head in reader.fieldnames or ()]
    heads = [head for head in reader.fieldnames if head]
    if twice := [head for head in heads if heads.count(head) > 1]:
        raise _NoTableError(f"several of its columns are named {twice[0]}: rename them")
    rows = []
    for row in reader:
        if any(cell.strip() for cell in row.pop(None, ())):
            raise _NoTableError(f"line {above + reader.line_num} has more cells than there are columns: put cells "
                                "with a comma in them into quotes")
        rows.append({head: (row[head] or "").strip() for head in heads})
    rows = [row for row in rows if any(row.values())]
    if not rows:
        raise _NoTableError("it has no rows")
    return rows


def _affixes(values: Sequence[str], index: dict[str, list[str]]) -> tuple[str, str, set[str]]:
    """What stands before and after a column's values in the paths of most of the files that they name, and these files.

    Where they lie in several folders, the first is `ANYWHERE`; there no two files may have one of the names.
    """
    files: dict[tuple[str, str], set[str]] = defaultdict(set)
    named: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for value in dict.fromkeys(filter(None, values)):
        for name in index.get(value.rpartition("/")[2], ()):
            at = f"/{name}".find(f"/{value}")
            prefix, suffix = name[:at], name[at + len(value) :]
            if at >= 0 and (not suffix or suffix[0] in "/."):
                files[prefix, suffix].add(name)
                named[suffix][value].append(name)
    if not files:
        return "", "", set()
    prefix, suffix = min(files, key=lambda pair: (-len(files[pair]), len(pair[0]) + len(pair[1]), pair))
    places = named[suffix]
    if len(files[prefix, suffix]) < _MOST * len(places) and all(len(names) == 1 for names in places.values()):
        return ANYWHERE, suffix, {names[0] for names in places.values()}
    return prefix, suffix, files[prefix, suffix]


def _words(column: str) -> list[str]:
    """The words of a column's name, in small letters."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", column)
    return [word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word]


def _rank(column: str, known: Sequence[str]) -> int:
    """The place of a column's name among known words; their number where it is none."""
    words = {form for word in _words(column) for form in (word, word.removesuffix("s"), word.removesuffix("id"))}
    words = {word for word in words if len(word) > 1} or {column.lower()}
    return next((place for place, word in enumerate(known) if word in words), len(known))


def _tell_columns(look: TableLook, rows: list[dict[str, str]]) -> None:
    values = {column: [row[column] for row in rows] for column in rows[0] if column != look.column}
    _tell_subject(look, values, [row[look.column] for row in rows])
    _tell_split(look, values)
    taken = {look.subject, look.split}
    free = {column: cells for column, cells in values.items() if column not in taken and not _is_aside(column)}
    flags = {column: cells for column, cells in free.items() if _are_flags(cells)}
    several = {column: mark for column, cells in free.items() if (mark := _separator(cells))}
    few = {column: Counter(filter(None, cells)) for column, cells in free.items() if not _are_measures(cells)}
    for column, mark in several.items():
        few[column] = Counter(word for cell in free[column] for word in _split(cell, mark))
    few = {column: counts for column, counts in few.items() if 2 <= len(counts) <= min(_MOST_CLASSES, len(rows) / 2)}
    named = sorted((column for column in few if _rank(column, _LABELS) < len(_LABELS)),
                   key=lambda column: _rank(column, _LABELS))
    if len(flags) > 1 and not any(column in few and column not in flags for column in named):
        look.labels = list(flags)
        look.counts = Counter({column: sum(FLAG_WORDS.get(cell.lower()) == 1 for cell in cells)
                               for column, cells in flags.items()})
        look.unclear = sum(any(row[column].lower() not in FLAG_WORDS for column in flags) for row in rows)
        return
    order = named or sorted(few, key=lambda column: len(few[column]))
    if order:
        look.label, *look.spare = order
        look.counts = few[look.label]
        look.unclear = sum(not cell for cell in free[look.label])
        look.separator = several.get(look.label, "")
        if look.separator:
            among = {word for cell in free[look.label] for words in (_split(cell, look.separator),) if len(words) > 1
                     for word in words}
            look.none = [word for word in look.counts if word not in among and _NONE.match(word)]


def _split(cell: str, separator: str) -> list[str]:
    return [word for part in cell.split(separator) if (word := part.strip())]


def _separator(cells: Sequence[str]) -> str:
    """What stands between words in some cells, if there are fewer words than cells that they make."""
    for mark in _SEPARATORS:
        joined = {cell for cell in cells if mark in cell}
        words = {word for cell in cells for word in _split(cell, mark)}
        if joined and len(words) < len(set(filter(None, cells))) and len(words) <= _MOST_CLASSES:
            return mark
    return ""


def _are_measures(cells: Sequence[str]) -> bool:
    """Whether cells are numbers that are not whole, which are no classes."""
    return any(re.fullmatch(r"[+-]?[0-9]*[.][0-9]*[1-9][0-9]*(?:e[+-]?[0-9]+)?", cell.lower()) for cell in cells)


def _is_aside(column: str) -> bool:
    """Whether a column's name says that it is no label."""
    return bool(set(_words(column)) & _ASIDE)


def _are_flags(cells: Sequence[str]) -> bool:
    """Whether cells are 0 and 1, both of them, but for a few that are blank or -1."""
    words = {cell.lower() for cell in cells}
    clear = {FLAG_WORDS[word] for word in words if word in FLAG_WORDS}
    return len(clear) == 2 and all(word in FLAG_WORDS or word in ("", "-1", "-1.0", "nan", "na") for word in words)


def _tell_subject(look: TableLook, values: dict[str, list[str]], files: Sequence[str]) -> None:
    """The column whose name and values are those of patients; where there is none, maybe the files' own."""
    aside = _ASIDE - {"id"}
    fits = [
        column for column, cells in {**values, look.column: files}.items()
        if _rank(column, _SUBJECTS) < len(_SUBJECTS) and not set(_words(column)) & aside and len(set(cells)) > 1
    ]
    if fits:
        look.subject = min(fits, key=lambda column: (column == look.column, _rank(column, _SUBJECTS)))
        cells = values.get(look.subject, files)
        look.subjects = len(set(filter(None, cells)))
        look.blank = sum(not cell for cell in cells)


def _tell_split(look: TableLook, values: dict[str, list[str]]) -> None:
    for column, cells in values.items():
        words = {cell.lower() for cell in cells}
        if set(_words(column)) & _SPLITS and words <= SPLIT_WORDS.keys() and len(words) > 1:
            look.split = column
            look.parts = tuple(dict.fromkeys(SPLIT_WORDS[cell.lower()] for cell in cells))
            if look.subject in values:
                pairs = {(s, SPLIT_WORDS[c.lower()]) for s, c in zip(values[look.subject], cells, strict=True)}
                look.crossing = len(pairs) - len({subject for subject, _ in pairs})
            return
