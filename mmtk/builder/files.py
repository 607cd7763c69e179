"""Check, without reading them again, whether the files of a user's own data are those that a store was built from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mmtk.datasets.archives import ZipMember
from mmtk.datasets.base import Record
from mmtk.datasets.collecting import folder_of
from mmtk.datasets.listing import Listing

_DETACHED = (".nhdr", ".mhd")  # headers whose voxels are in another file of the same folder


class Change(NamedTuple):
    """Time of the last change of any of several files, in nanoseconds, and that file's name."""

    time: int
    name: str


def sizes_of(records: Iterable[Record], listing: Listing) -> dict[str, int]:
    """Bytes of each record's file, or of the files in its folder: rewritten images change the plan."""
    sizes = dict.fromkeys((record.file for record in records), 0)
    for name, owner in _files(sizes, listing):
        sizes[owner] += listing.size(name)
    return sizes


def last_change(records: Iterable[Record], listing: Listing) -> Change:
    """The last change of any of the records' files, or of the archive that contains it.

    Pixels may change without the file size, for instance when a DICOM is rewritten. A file moved here counts as
    changed, whatever its modification time.
    """
    last = Change(0, "")
    for name, _ in _files({record.file for record in records}, listing):
        path = listing.path(name)
        status = (path.archive.path if isinstance(path, ZipMember) else path).stat()
        last = max(last, Change(max(status.st_mtime_ns, status.st_ctime_ns), name))
    return last


def _files(wanted: Iterable[str], listing: Listing) -> Iterator[tuple[str, str]]:
    """Each file of the records, with the record's file or folder it belongs to."""
    owners = {file: file for file in wanted}
    owners = {**{folder_of(file): file for file in owners if file.lower().endswith(_DETACHED)}, **owners}
    for name in listing.names:
        if (owner := owners.get(name) or owners.get(folder_of(name))) is not None:
            yield name, owner
