"""Identify a file of an unexpected type by its first bytes, and say what to do about it."""

from __future__ import annotations

from typing import NamedTuple

MOST_BYTES = 512  # the leading bytes that are enough to identify a file

_FETCH = "download the file again"
_SIGNATURES = (  # place, bytes, name
    (0, b"BM", "a BMP image"),
    (0, b"GIF87a", "a GIF image"),
    (0, b"GIF89a", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"II+\0", "a BigTIFF"),
    (0, b"MM\0+", "a BigTIFF"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"ftyphei", "a HEIF image"),
    (4, b"ftypmif1", "a HEIF image"),
    (4, b"ftypavif", "an AVIF image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"P5", "a PGM image"),
    (0, b"P6", "a PPM image"),
    (0, b"NRRD000", "an NRRD volume"),
    (0, b"ObjectType", "a MetaImage header"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"%PDF", "a PDF"),
    (4, b"n+2\0", "a NIfTI-2 volume"),
    (4, b"ni2\0", "a NIfTI-2 header"),
    (344, b"n+1\0", "a NIfTI volume"),
    (344, b"ni1\0", "a NIfTI header"),
)
_PACKED = (  # to be unpacked, not converted
    (0, b"PK\3\4", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
)


class FileType(NamedTuple):
    """The type of a file, and what to do about it."""

    name: str
    remedy: str


def identify_placeholder(head: bytes) -> FileType | None:
    """Identify a placeholder for the real file: a Git LFS or git-annex pointer, or a server's web page."""
    if head.startswith(b"version https://git-lfs"):
        return FileType("a Git LFS pointer", "get the file itself with `git lfs pull`")
    if head[:64].lstrip(b"./").startswith((b"annex/objects/", b"git/annex/objects/")):
        return FileType("a git-annex pointer", "get the file itself with `git annex get`")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        return FileType("a web page", "download the file again, logged in if the server requires it")
    return None


def identify(head: bytes, convert: str) -> FileType | None:
    """Identify a file by its first `MOST_BYTES`; None if they are not recognised.

    Parameters
    ----------
    head : bytes
    convert : str
        The remedy for a file in another image or volume format.
    """
    placeholder = identify_placeholder(head)
    if placeholder is not None:
        return placeholder
    for at, signature, name in _PACKED:
        if head[at:].startswith(signature):
            return FileType(name, "unpack it")
    for at, signature, name in _SIGNATURES:
        if head[at:].startswith(signature):
            return FileType(name, convert)
    return None


def identify_any(head: bytes, convert: str) -> FileType:
    """Like `identify`, but describe an unrecognised file by its first bytes; it may be a damaged download."""
    if not head:
        return FileType("an empty file", _FETCH)
    return identify(head, convert) or FileType(f"an unrecognised file (first bytes {head[:8].hex(' ')})", _FETCH)
