"""Find the table that describes the images, and its columns for file, labels, subject and split."""

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
_MOST = 0.9  # fraction of a column's files that must have the same prefix
_NONE = re.compile(r"(?:no|none|not|nothing|normal|healthy|negative)\b", re.IGNORECASE)  # words for no finding
_CLOSE = 20  # most files that a word is compared with
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
class TableSummary:
    """What a table says about the images.

    Attributes
    ----------
    strip : str
        Common start of its paths on another machine.
    images : set of str
        The images listed in it.
    lost : int
        Rows whose file does not exist.
    labels : list of str
        Columns of 0 and 1, if there are several.
    counts : Counter
        Rows per label, or rows with 1 per column.
    unclear : int
        Rows with a blank label, or a value other than 0 and 1.
    parts : tuple of str
        Splits in its column of splits.
    crossing : int
        Subjects in several splits.
    spare : list of str
        Other columns that could be labels.
    separator : str
        Separator of labels, if some cells contain several.
    none : list of str
        Words that mean no label.
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
    def has_labels(self) -> bool:
        """Whether it has labels."""
        return bool(self.label or self.labels)

    @property
    def generic(self) -> bool:
        """Whether the column of labels has a generic name, such as "label"."""
        return _rank(self.label, _LABELS) < len(_LABELS)


def summarize_tables(
    listing: Listing, tables: Sequence[str], names: Sequence[str]
) -> tuple[list[TableSummary], dict[str, str]]:
    """The tables that list images or volumes, best first, and the reasons why others do not."""
    index = _index(names)
    summaries, others = [], {}
    for table in tables:
        try:
            summaries.append(_summarize(listing, table, index, len(names)))
        except _NoTableError as error:
            if str(error):
                others[table] = str(error)
    return sorted(summaries, key=lambda t: (
        not t.has_labels, -len(t.images), _rank(t.label, _LABELS) if t.label else len(_LABELS), not t.subject,
        t.file.count("/"), natural_key(t.file),
    )), others


class _NoTableError(Exception):
    """Why a text does not describe images; empty if it is not a table."""


def choose(summaries: Sequence[TableSummary], tables: Sequence[str], wanted: str) -> TableSummary | None:
    """The requested table, or the best one.

    Raises
    ------
    ArgumentError
        If the requested table does not exist, or does not list images.
    """
    if not wanted:
        return summaries[0] if summaries else None
    wanted = wanted.removeprefix("./")
    for summary in summaries:
        if summary.file == wanted:
            return summary
    known = ", ".join(summary.file for summary in summaries) or "none"
    problem = "does not list any of the files" if wanted in tables else "does not exist"
    raise ArgumentError(f"--table {wanted}", problem, expected=f"a table that lists images ({known})")


def _index(names: Iterable[str]) -> dict[str, list[str]]:
    """Index names by what a table may call them: a part of the path, with or without its suffix."""
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


def _summarize(listing: Listing, table: str, index: dict[str, list[str]], total: int) -> TableSummary:
    try:
        rows = _rows(listing.read_text(table))
    except SourceError as error:
        raise _NoTableError(f"it {str(error).removeprefix(f'{error.what}: ')}") from None
    except csv.Error as error:
        raise _NoTableError(f"it is not valid CSV: {error}") from None
    if len(rows[0]) < 2:
        raise _NoTableError("" if table.lower().endswith(".txt") else "it has a single column")
    if any(head in index for head in rows[0]):
        raise _NoTableError("its first line is a row of data: insert a line with the names of the columns")
    best: TableSummary | None = None
    reasons = [(0, f"none of its columns lists the files: {', '.join(rows[0])}")]
    enough = max(2, min(len(rows), total) / 2)
    for column in rows[0]:
        strip, values = _relative([row[column] for row in rows])
        prefix, suffix, images = _affixes(values, index)
        if len(images) < enough:
            reasons += _nearly(column, values, index)
        elif len(set(values)) < len(values):
            reason = f"column {column} lists some files several times, but one row per image is needed"
            reasons.append((len(images), reason))
        elif best is None or (len(images), suffix == "") > (len(best.images), best.suffix == ""):
            best = TableSummary(table, len(rows), column, strip, prefix, suffix, images, len(rows) - len(images))
    if best is None:
        raise _NoTableError(max((count, reason) for count, reason in reasons if not count or count >= enough)[1])
    _identify_columns(best, rows)
    return best


def _nearly(column: str, values: Sequence[str], index: Mapping[str, list[str]]) -> Iterator[tuple[int, str]]:
    """Yield how many files a column would match with upper and lower case or leading zeros ignored, and the reason."""
    words = {value.rpartition("/")[2] for value in values}
    for form, what in (
        (str.lower, "upper and lower case: rename one of them"),
        (lambda word: word.lstrip("0") if word.isdigit() else word,
         "leading zeros, which spreadsheets drop: restore them"),
    ):
        known = {form(word) for word in index}
        yield sum(form(word) in known for word in words), f"column {column} differs from the file names in {what}"


def _relative(values: Sequence[str]) -> tuple[str, list[str]]:
    """The common start of absolute paths from another machine, and the paths without it, with forward slashes."""
    plain = [value.replace("\\", "/").removeprefix("./") for value in values]
    absolute = [path for path in plain if path]
    if not absolute or not all(map(is_absolute, absolute)):
        return "", plain
    start = common_start(absolute)
    strip = start[: start.rfind("/") + 1]
    return strip, [path.removeprefix(strip) for path in plain]


def _rows(text: str) -> list[dict[str, str]]:
    """The rows of a table by column, without blank rows."""
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
            raise _NoTableError(f"line {above + reader.line_num} has more cells than there are columns: put cells that "
                                "contain a comma in quotes")
        rows.append({head: (row[head] or "").strip() for head in heads})
    rows = [row for row in rows if any(row.values())]
    if not rows:
        raise _NoTableError("it has no rows")
    return rows


def _affixes(values: Sequence[str], index: dict[str, list[str]]) -> tuple[str, str, set[str]]:
    """Prefix and suffix around a column's values in the paths of most of the files that they match, and these files.

    If the files are in several folders, the prefix is `ANYWHERE`, provided that file names are unique.
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
    """The words of a column's name in lower case."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", column)
    return [word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word]


def _rank(column: str, known: Sequence[str]) -> int:
    """The position of a column's name among known words; their number if it is not among them."""
    words = {form for word in _words(column) for form in (word, word.removesuffix("s"), word.removesuffix("id"))}
    words = {word for word in words if len(word) > 1} or {column.lower()}
    return next((place for place, word in enumerate(known) if word in words), len(known))


def _identify_columns(look: TableSummary, rows: list[dict[str, str]]) -> None:
    values = {column: [row[column] for row in rows] for column in rows[0] if column != look.column}
    _identify_subject(look, values, [row[look.column] for row in rows])
    _identify_split(look, values)
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
    """The separator of words in some cells, if there are fewer distinct words than distinct cells."""
    for mark in _SEPARATORS:
        joined = {cell for cell in cells if mark in cell}
        words = {word for cell in cells for word in _split(cell, mark)}
        if joined and len(words) < len(set(filter(None, cells))) and len(words) <= _MOST_CLASSES:
            return mark
    return ""


def _are_measures(cells: Sequence[str]) -> bool:
    """Whether some cells are non-integer numbers, which cannot be classes."""
    return any(re.fullmatch(r"[+-]?[0-9]*[.][0-9]*[1-9][0-9]*(?:e[+-]?[0-9]+)?", cell.lower()) for cell in cells)


def _is_aside(column: str) -> bool:
    """Whether a column's name rules out that it is a label."""
    return bool(set(_words(column)) & _ASIDE)


def _are_flags(cells: Sequence[str]) -> bool:
    """Whether cells are both 0 and 1, apart from blank ones and -1."""
    words = {cell.lower() for cell in cells}
    clear = {FLAG_WORDS[word] for word in words if word in FLAG_WORDS}
    return len(clear) == 2 and all(word in FLAG_WORDS or word in ("", "-1", "-1.0", "nan", "na") for word in words)


def _identify_subject(look: TableSummary, values: dict[str, list[str]], files: Sequence[str]) -> None:
    """Find the column with patients by name and values; failing others, the column of the files may be one."""
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


def _identify_split(look: TableSummary, values: dict[str, list[str]]) -> None:
    for column, cells in values.items():
        words = {cell.lower() for cell in cells}
        if set(_words(column)) & _SPLITS and words <= SPLIT_WORDS.keys() and len(words) > 1:
            look.split = column
            look.parts = tuple(dict.fromkeys(SPLIT_WORDS[cell.lower()] for cell in cells))
            if look.subject in values:
                pairs = {(s, SPLIT_WORDS[c.lower()]) for s, c in zip(values[look.subject], cells, strict=True)}
                look.crossing = len(pairs) - len({subject for subject, _ in pairs})
            return
