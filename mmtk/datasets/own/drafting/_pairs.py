"""Match masks with image volumes by patterns of their paths, and find the organs in the masks."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mmtk.datasets.collecting import natural_key
from mmtk.datasets.listing import Listing
from mmtk.datasets.own._templates import matches
from mmtk.datasets.own.drafting._layout import literal
from mmtk.datasets.own.drafting._look import ending_of
from mmtk.errors import SourceError
from mmtk.imaging import PLANES, probe_volume, read_mask, turn_volume, voxels_apart

MAX_MASKS = 10  # masks whose voxels are read
_LEAST = 4  # smallest extent of an organ along each axis of a plane, in voxels
_TRIED = 50  # patterns tried, most frequent first
_FEWEST = 3  # smallest number of slices of an organ
_MASK_WORDS = {"seg", "segs", "segmentation", "segmentations", "mask", "masks", "label", "labels", "labelmap", "gt",
               "groundtruth", "annotation", "annotations", "roi", "labelstr", "labelsts", "truth"}

_MASK_FOLDERS = {"mask", "masks", "seg", "segs", "segmentation", "segmentations", "groundtruth", "ground_truth", "gt"}
_MARKED = re.compile("([_. -])([A-Za-z]+)")


class Pairs(NamedTuple):
    """Patterns of images and their masks, the matching pairs, images without a mask, and other images."""

    image: str
    mask: str
    pairs: tuple[tuple[str, str], ...]
    unpaired: tuple[str, ...]
    others: tuple[str, ...]


class Organs(NamedTuple):
    """Values in masks: those large enough for images in at least half of the examined masks, and the others.

    ``axes`` is whether all masks give their anatomical axes; ``examined`` is how many masks were read.
    """

    values: tuple[int, ...]
    rare: tuple[int, ...]
    axes: bool
    examined: int
    unread: tuple[str, ...]


def is_mask(name: str) -> bool:
    """Whether a path contains a word for masks."""
    return any(word in _MASK_WORDS for word in re.split(r"[^a-z]+", name.lower()))


def find_masks(names: Sequence[str]) -> tuple[list[str], set[str]]:
    """Patterns of the masks among two-dimensional images, and the masks, next to images or in their own folders."""
    patterns = []
    for name in names:
        *folders, base = name.split("/")
        stem = base[: len(base) - len(ending_of(base))]
        if word := next((m for m in _MARKED.finditer(stem) if m[2].lower() in _MASK_WORDS), None):
            patterns.append(f"*{word[1]}{word[2]}*")
        elif folder := next((folder for folder in folders if folder.lower() in _MASK_FOLDERS), ""):
            patterns.append(f"**/{literal(folder)}/**/*")
    patterns = sorted(set(patterns))
    masks = {match.name for text in patterns for match in matches(text if "/" in text else f"**/{text}", names)}
    return (patterns, masks) if len(masks) < len(names) else ([], set())


def pair_up(listing: Listing, names: Sequence[str]) -> Pairs | None:
    """Match images and masks by patterns of their paths; None if there are no masks.

    Among patterns with equally many pairs, one whose first image and mask have the same grid is preferred.
    """
    masks = [name for name in names if is_mask(name)]
    images = [name for name in names if name not in set(masks)]
    fits = []
    for mask_pattern, of_mask in _candidates(masks):
        for pattern, of_image in _candidates(images):
            both = of_image.keys() & of_mask.keys()
            if both:
                left = len(of_image.keys() - both)
                rank = (-len(both), left, pattern.count("{subject}") > 1, "**" in pattern, pattern, mask_pattern)
                fits.append((rank, pattern, mask_pattern, of_image, of_mask))
    fits.sort(key=lambda fit: fit[0])
    if fits:
        as_good = [fit for fit in fits if fit[0][:2] == fits[0][0][:2]][:_TRIED]
        best = next((fit for fit in as_good if _same_grid(listing, *fit[3:])), fits[0]) if len(as_good) > 1 else fits[0]
        _, pattern, mask_pattern, of_image, of_mask = best
        subjects = sorted(of_image, key=natural_key)
        pairs = tuple((of_image[subject], of_mask[subject]) for subject in subjects if subject in of_mask)
        unpaired = tuple(of_image[subject] for subject in subjects if subject not in of_mask)
        used = {name for pair in pairs for name in pair} | set(unpaired)
        return Pairs(pattern, mask_pattern, pairs, unpaired, tuple(name for name in names if name not in used))
    return None


def _same_grid(listing: Listing, of_image: Mapping[str, str], of_mask: Mapping[str, str]) -> bool:
    """Whether the first image and its mask have the same grid, as far as both headers describe it."""
    subject = min(of_image.keys() & of_mask.keys(), key=natural_key)
    try:
        image, mask = (probe_volume(listing.path(of[subject])) for of in (of_image, of_mask))
    except SourceError:
        return False
    if not (image.axes and mask.axes):
        return sorted(image.shape) == sorted(mask.shape)
    grids = image.turned_grid, mask.turned_grid
    return grids[0].shape == grids[1].shape and max(voxels_apart(*grids)) < 1


def _candidates(names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield patterns with ``{subject}`` that match some of the names, and the name of each subject."""
    for pattern, _ in Counter(_patterns(names)).most_common(_TRIED):
        subjects: dict[str, str] = {}
        twice = False
        for match in matches(pattern, names):
            twice |= subjects.setdefault(match.values["subject"], match.name) != match.name
        if subjects and not twice:
            yield pattern, subjects


def _patterns(names: Sequence[str]) -> Iterator[str]:
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        *above, base = name.split("/")
        folders["/".join(above)].append(base)
        if above:
            for prefix in ("**/",) if len(above) > 1 else ("",):
                yield f"{prefix}{{subject}}/{literal(base)}"
                if base.startswith(above[-1]):
                    yield f"{prefix}{{subject}}/{{subject}}{literal(base.removeprefix(above[-1]))}"
    for folder, bases in folders.items():
        head = f"{literal(folder)}/" if folder else ""
        for bases_of in _by_suffix(bases).values():
            for start, end in dict.fromkeys(_ends(bases_of)):
                yield f"{head}{literal(start)}{{subject}}{literal(end)}"


def _by_suffix(bases: Sequence[str]) -> dict[str, list[str]]:
    """Group names by what follows their last separator, unless it contains a number that could be a subject's."""
    groups: dict[str, list[str]] = defaultdict(list)
    for base in bases:
        stem = base[: len(base) - len(ending_of(base))]
        last = re.search(r"[_-](?:[A-Za-z]\w*|0000)$", stem)
        groups[f"{last[0] if last else ''}{ending_of(base)}"].append(base)
    return groups


def _ends(bases: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield common prefixes and suffixes of names, cut at word boundaries."""
    ending = ending_of(bases[0])
    stems = [base[: len(base) - len(ending)] for base in bases]
    start = common_start(stems)
    end = common_start([stem[::-1] for stem in stems])[::-1]
    starts = ["", *(start[: mark.end()] for mark in re.finditer("[_-]", start))]
    last = re.search(r"[_-](?:[A-Za-z]\w*|0000)$", end if len(stems) > 1 else stems[0])
    for text in starts:
        for tail in (last[0] if last else "", ""):
            yield text, f"{tail}{ending}"


def common_start(texts: Sequence[str]) -> str:
    """The common prefix of texts."""
    first, last = min(texts), max(texts)
    at = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:at]


def organs_of(listing: Listing, masks: Sequence[str]) -> Organs:
    """The values in the first masks, and which of them are large enough for images."""
    from scipy import ndimage

    shown: Counter[int] = Counter()
    present: set[int] = set()
    unread = []
    axes = True
    examined = 0
    across = PLANES["axial"]
    for name in masks[:MAX_MASKS]:
        try:
            mask = read_mask(listing.path(name))
        except SourceError as error:
            unread.append(f"{name}: {str(error).removeprefix(f'{error.what}: ')}")
            continue
        examined += 1
        axes &= bool(mask.axes)
        voxels = turn_volume(mask) if mask.axes else mask.voxels.transpose(2, 1, 0)
        for value, box in enumerate(ndimage.find_objects(voxels), 1):
            if box is not None:
                present.add(value)
                sides = [span.stop - span.start for span in box]
                large = min(side for axis, side in enumerate(sides) if axis != across) >= _LEAST
                shown[value] += large and sides[across] >= _FEWEST
        del mask, voxels  # free memory before the next is read
    values = tuple(sorted(value for value in present if 2 * shown[value] >= examined and shown[value]))
    return Organs(values, tuple(sorted(present - set(values))), axes, examined, tuple(unread))
