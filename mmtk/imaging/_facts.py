"""The technical facts in a DICOM header, and nothing about the patient."""

from __future__ import annotations

import os
from typing import NamedTuple

from mmtk.imaging._dicom import probe_dicom_file
from mmtk.imaging._files import as_file


class DicomFacts(NamedTuple):
    """Technical facts from the header of a DICOM file.

    Attributes
    ----------
    height, width : int
        In pixels.
    modality : str
        Such as "CT"; empty if the file does not say.
    bits : int
        Bits stored per pixel.
    inverted : bool
        Whether the image is MONOCHROME1.
    windowed : bool
        Whether the file has a usable window or VOI look-up table.
    placed : bool
        Whether the file gives the position, orientation and pixel spacing of a slice.

    Examples
    --------
    >>> from mmtk.imaging import DicomFacts
    >>> facts = DicomFacts(512, 512, "CT", bits=12, inverted=False, windowed=True, placed=True)
    >>> facts.modality, facts.bits
    ('CT', 12)
    """

    height: int
    width: int
    modality: str
    bits: int
    inverted: bool
    windowed: bool
    placed: bool


def probe_dicom(path: str | os.PathLike[str]) -> DicomFacts:
    """Read the technical facts in the header of a single greyscale DICOM image, and nothing about the patient.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Returns
    -------
    DicomFacts

    Raises
    ------
    ImageError, SourceError
        As for `mmtk.imaging.probe_values`, and if the file is not DICOM.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.imaging.probe_dicom("breastmnist.npz")
    ... except mmtk.MmtkError as error:
    ...     print(error)
    breastmnist.npz: is a zip archive, not a DICOM file; unpack it
    """
    header = probe_dicom_file(as_file(path))
    windowed = isinstance(header.window, tuple) or "voi" in header.tables
    placed = bool(header.position and header.orientation and header.spacing)
    return DicomFacts(
        header.height, header.width, header.modality, header.stored, header.inverted, windowed, placed
    )
