"""What a DICOM file says of how its image was made and is to be shown; nothing of the patient."""

from __future__ import annotations

import os
from typing import NamedTuple

from mmtk.imaging._dicom import probe_dicom_file
from mmtk.imaging._files import as_file


class DicomFacts(NamedTuple):
    """What the header of a DICOM file says.

    ``bits`` are those that count; ``inverted`` is whether it is MONOCHROME1; ``windowed`` is whether it names a window,
    or a look-up table, that can be used; ``placed`` is whether it says where it lies in the patient, as slices do.
    """

    height: int
    width: int
    modality: str
    bits: int
    inverted: bool
    windowed: bool
    placed: bool


def probe_dicom(path: str | os.PathLike[str]) -> DicomFacts:
    """Read the header of a single grey DICOM image; who the patient is is not read.

    Raises
    ------
    ImageError, SourceError
        As `mmtk.imaging.probe_values`, and for files that are no DICOM.
    """
    header = probe_dicom_file(as_file(path))
    windowed = isinstance(header.window, tuple) or "voi" in header.tables
    placed = bool(header.position and header.orientation and header.spacing)
    return DicomFacts(
        header.height, header.width, header.modality, header.stored, header.inverted, windowed, placed
    )
