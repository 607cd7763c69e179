"""What tells that the files of one's own data are those that a store was built from, short of reading them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mmtk.datasets.archives import ZipMember
from mmtk.datasets.base import Record
from mmtk.datasets.collecting import folder_of
from mmtk.datasets.listing import Listing

_DETACHED = (".nhdr", ".mhd")  # headers whose voxels lie in another file of their folder


class Change(NamedTuple):
    """When the last one of some files changed, in nanoseconds, and its name."""

    time: int
    name: str


def sizes_of(records: Iterable[Record], listing: Listing) -> dict[str, int]:
    """Bytes of each record's file, or of the files in its folder: images that were written anew make another plan."""
    sizes = dict.fromkeys((record.file for record in records), 0)
    for name, of in _files(sizes, listing):
        sizes[of] += listing.size(name)
    return sizes


def last_change(records: Iterable[Record], listing: Listing) -> Change:
    """The last change of any of the records' files, or of the archive that it is in.

    Pixels may change and the size of their file not, as where a DICOM is written again. Whatever was moved here counts
    as changed, however old it says it is.
    """
    last = Change(0, "")
    for name, _ in _files({record.file for record in records}, listing):
        path = listing.path(name)
        status = (path.archive.path if isinstance(path, ZipMember) else path).stat()
        last = max(last, Change(max(status.st_mtime_ns, status.st_ctime_ns), name))
    return last


def _files(wanted: Iterable[str], listing: Listing) -> Iterator[tuple[str, str]]:
    """Each file of the records, with the record's file or folder that it is of."""
    of = {file: file for file in wanted}
    of = {**{folder_of(file): file for file in of if file.lower().endswith(_DETACHED)}, **of}
    for name in listing.names:
        if (whose := of.get(name) or of.get(folder_of(name))) is not None:
            yield name, whose
