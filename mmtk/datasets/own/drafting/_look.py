"""Examine a folder: classify its files as images, volumes, series and tables, and summarize some of their headers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from mmtk.datasets.collecting import IMAGES, folder_of, is_junk, natural_key
from mmtk.datasets.listing import Listing
from mmtk.errors import SourceError
from mmtk.imaging import (
    DicomFacts,
    Header,
    VolumeHeader,
    probe_dicom,
    probe_page,
    probe_series,
    probe_values,
    probe_volume,
    read_volume,
)
from mmtk.imaging._series import SEVERAL_SERIES

MAX_HEADERS = 200  # headers read per kind of file
MAX_SERIES = 20  # series whose headers are read, with all their slices
MAX_VOLUMES = 3  # volumes whose voxels are read
_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_TABLES = (".csv", ".tsv", ".txt")
_FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".nii": "NIfTI",
    ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".nhdr": "NRRD", ".mha": "MetaImage", ".mhd": "MetaImage",
}
_AIR = -300  # Hounsfield units: only CT has values this low
_T = TypeVar("_T")


class FolderContents(NamedTuple):
    """The names in a listing by type; series are folders."""

    images: tuple[str, ...]
    dicom: frozenset[str]
    volumes: tuple[str, ...]
    series: tuple[str, ...]
    tables: tuple[str, ...]


@dataclass
class HeaderSummary:
    """A summary of headers.

    Attributes
    ----------
    total, examined : int
        Number of files or series, and of those whose headers were read.
    lines : list of str
        Number and sizes of each kind of file, one per line.
    unread : list of str
        Files that cannot be read, with the reason.
    mixed : list of str
        Folders with slices of several series.
    """

    total: int = 0
    examined: int = 0
    lines: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    colour: int = 0
    deep: int = 0
    grey: int = 0
    dicom: list[DicomFacts] = field(default_factory=list)
    volumes: list[VolumeHeader] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)


def ending_of(name: str) -> str:
    """The suffix of a file name with its dot, in lower case; empty if there is none."""
    base = name.rpartition("/")[2].lower()
    if base.endswith(".nii.gz"):
        return ".nii.gz"
    match = re.search(r"\.[a-z][a-z0-9]{0,5}$", base)
    return match[0] if match else ""


def classify_files(listing: Listing) -> FolderContents:
    """Classify files by their suffixes; files with other suffixes are DICOM if their first bytes say so."""
    images, volumes, tables, dicom = list[str](), list[str](), list[str](), list[str]()
    loose: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in listing.names:
        ending = ending_of(name)
        if is_junk(name) or not is_text(name):
            continue
        if ending in IMAGES:
            images.append(name)
        elif ending in _VOLUMES:
            volumes.append(name)
        elif ending in _TABLES:
            tables.append(name)
        elif name.rpartition("/")[2].upper() != "DICOMDIR":
            loose[folder_of(name), ending].append(name)
    for (_, ending), names in loose.items():
        if ending in (".dcm", ".dicom", ".ima"):
            dicom += names
        elif any(_is_dicom(listing, name) for name in (names[0], names[len(names) // 2], names[-1])):
            dicom += [name for name in names if _is_dicom(listing, name)]
    series = _series_among(listing, dicom)
    single = [name for name in dicom if folder_of(name) not in series]
    ordered = (sorted(names, key=natural_key) for names in ((*images, *single), volumes, series, tables))
    first, second, third, fourth = map(tuple, ordered)
    return FolderContents(first, frozenset(single), second, third, fourth)


def is_text(name: str) -> bool:
    """Whether a name can be written to a TOML file, that is, whether it is UTF-8."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _is_dicom(listing: Listing, name: str) -> bool:
    try:
        with listing.path(name).open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _series_among(listing: Listing, dicom: Iterable[str]) -> set[str]:
    """Folders whose DICOM files give their position in the patient, like slices of a volume."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in dicom:
        folders[folder_of(name)].append(name)
    series = set()
    for folder, names in folders.items():
        if len(names) < 2 or not folder or any(folder.startswith(archive) for archive in listing.archives):
            continue
        facts = []
        for name in (names[0], names[len(names) // 2], names[-1]):
            try:
                facts.append(probe_dicom(listing.path(name)))
            except SourceError:
                continue
        if facts and all(fact.placed for fact in facts):
            series.add(folder)
    return series


def hdr_img_pairs(names: Iterable[str]) -> str:
    """The number of .hdr/.img pairs, and what to do about them; empty if there are none."""
    some = {name.lower().removesuffix(".gz") for name in names if not is_junk(name)}
    pairs = [name for name in some if name.endswith(".hdr") and f"{name[:-4]}.img" in some]
    return f"{len(pairs):,} volumes as .hdr/.img pairs; save them as .nii.gz" if pairs else ""


def summarize_images(listing: Listing, names: Sequence[str], dicom: frozenset[str]) -> HeaderSummary:
    """Read the headers of some images of each kind."""
    look = HeaderSummary(len(names))
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds["DICOM" if name in dicom else _FORMATS[ending_of(name)]].append(name)
    for kind, some in kinds.items():
        if kind == "DICOM":
            _summarize_dicom(listing, some, look)
            continue
        sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for _, header in _headers(listing, some, _probe, look):
            sort = "colour" if header.channels > 2 else "grey"
            sizes[f"{'16' if header.format.endswith('16') else '8'}-bit {sort}"].append((header.width, header.height))
            look.colour += header.channels > 2
            look.deep += header.format.endswith("16")
            look.grey += header.channels <= 2
        facts = [(sort, some_sizes, _range(some_sizes, "pixels")) for sort, some_sizes in sorted(sizes.items())]
        _add_lines(look, kind, len(some), [(len(some_sizes), f"{sort}, {span}") for sort, some_sizes, span in facts])
    return look


def _probe(path: object) -> Header:
    try:
        return probe_values(path)  # type: ignore[arg-type]
    except SourceError as error:
        try:
            return probe_page(path)  # type: ignore[arg-type]
        except SourceError:
            raise error from None


def _summarize_dicom(listing: Listing, names: Sequence[str], look: HeaderSummary) -> None:
    facts = [fact for _, fact in _headers(listing, names, probe_dicom, look)]
    look.dicom += facts
    look.deep += sum(fact.bits > 8 for fact in facts)
    look.grey += len(facts)
    if not facts:
        _add_lines(look, "DICOM", len(names), [])
        return
    kinds = Counter(fact.modality or "no modality" for fact in facts)
    inverted = Counter("MONOCHROME1" if fact.inverted else "MONOCHROME2" for fact in facts)
    windowed = sum(fact.windowed for fact in facts)
    with_window = "all have a window" if windowed == len(facts) else f"{windowed or 'none'} of them have a window"
    bits = " and ".join(str(count) for count in sorted({fact.bits for fact in facts}))
    sizes = _range([(fact.width, fact.height) for fact in facts], "pixels")
    text = f"{_tally(kinds)}, {_tally(inverted)}, {bits} bits, {with_window}, {sizes}"
    _add_lines(look, "DICOM", len(names), [(len(facts), text)])


def summarize_volumes(listing: Listing, names: Sequence[str], series: bool = False) -> HeaderSummary:
    """Read the headers of some volumes, or of some DICOM series."""
    look = HeaderSummary(len(names))
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds["DICOM series" if series else _FORMATS[ending_of(name)]].append(name)
    for kind, some in kinds.items():
        probed = probe_series if series else probe_volume
        most = MAX_SERIES if series else MAX_HEADERS
        headers = [header for _, header in _headers(listing, some, probed, look, most)]
        look.volumes += headers
        if headers:
            spacings = sorted({header.spacing for header in headers}, key=lambda size: (size[0] * size[1], size[2]))
            ends = list(dict.fromkeys((_measure(spacings[0]), _measure(spacings[-1]))))
            axes = _tally(Counter(header.axes or "no axes" for header in headers))
            shape = _range([header.shape for header in headers], "voxels")
            text = f"{shape} of {' to '.join(ends)} mm, axes {axes}"
            _add_lines(look, kind, len(some), [(len(headers), text)])
        else:
            _add_lines(look, kind, len(some), [])
    return look


def are_hounsfield(listing: Listing, names: Sequence[str]) -> tuple[bool, str]:
    """Whether the voxels of the first volumes are Hounsfield units, and their range as text."""
    low, high = 0.0, 0.0
    seen = False
    for name in names[:MAX_VOLUMES]:
        try:
            voxels = read_volume(listing.path(name), exact=True).voxels
        except SourceError:
            continue
        lows, highs = float(voxels.min()), float(voxels.max())
        low, high = (min(low, lows), max(high, highs)) if seen else (lows, highs)
        seen = True
    return seen and low <= _AIR, f"{low:g} to {high:g}" if seen else ""


def _headers(
    listing: Listing, names: Sequence[str], probed: Callable[..., _T], look: HeaderSummary, most: int = MAX_HEADERS
) -> list[tuple[str, _T]]:
    headers = []
    for name in spread(names, most):
        look.examined += 1
        try:
            headers.append((name, probed(listing.path(name))))
        except SourceError as error:
            look.unread.append(f"{name}: {str(error).removeprefix(f'{error.what}: ')}")
            if error.problem == SEVERAL_SERIES:
                look.mixed.append(name)
    return headers


def _add_lines(look: HeaderSummary, kind: str, total: int, groups: Sequence[tuple[int, str]]) -> None:
    """Add a kind of file: its number, how many were read, and a line for each group of similar files."""
    known = sum(count for count, _ in groups)
    of = f", of which {known:,} were read" if known < total else ""
    if len(groups) == 1:
        look.lines.append(f"{total:,} {kind}{of}: {groups[0][1]}")
        return
    look.lines.append(f"{total:,} {kind}{of}:" if groups else f"{total:,} {kind}, none of which can be read")
    look.lines += [f"  {count:,} {text}" for count, text in groups]


def spread(names: Sequence[str], most: int = MAX_HEADERS) -> Sequence[str]:
    """At most `most` of the names, evenly spaced."""
    return names if len(names) <= most else [names[place * len(names) // most] for place in range(most)]


def _tally(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return " and ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _range(sizes: Sequence[tuple[int, ...]], unit: str) -> str:
    """The smallest and the largest of several sizes, as text."""
    def area(size: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        product = 1
        for side in size:
            product *= side
        return product, size

    ends = dict.fromkeys(" x ".join(map(str, size)) for size in (min(sizes, key=area), max(sizes, key=area)))
    return f"{' to '.join(ends)} {unit}"


def _measure(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)
