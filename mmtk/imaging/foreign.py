"""What a file is that is not what was expected: its name by its first bytes, and what can be done about it."""

from __future__ import annotations

from typing import NamedTuple

MOST_BYTES = 512  # of a file that are enough to tell

_FETCH = "fetch the file again"
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
_PACKED = (  # of which nothing but unpacking is asked
    (0, b"PK\3\4", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
)


class Foreign(NamedTuple):
    """What a file is, and what to do about it."""

    name: str
    remedy: str


def stand_in(head: bytes) -> Foreign | None:
    """What stands where a file should be: a pointer of Git LFS or git-annex, or a server's web page."""
    if head.startswith(b"version https://git-lfs"):
        return Foreign("a Git LFS pointer, not the file itself", "get the file with `git lfs pull`")
    if head[:64].lstrip(b"./").startswith((b"annex/objects/", b"git/annex/objects/")):
        return Foreign("a git-annex pointer, not the file itself", "get the file with `git annex get`")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        return Foreign("a web page, not the file itself", "fetch the file again, logged in where its page asks for it")
    return None


def describe(head: bytes, convert: str) -> Foreign | None:
    """What a file is by its first `MOST_BYTES`; None where they tell nothing.

    Parameters
    ----------
    head : bytes
    convert : str
        What to do about a file in another format.
    """
    found = stand_in(head)
    if found is not None:
        return found
    for at, signature, name in _PACKED:
        if head[at:].startswith(signature):
            return Foreign(name, "unpack it")
    for at, signature, name in _SIGNATURES:
        if head[at:].startswith(signature):
            return Foreign(name, convert)
    return None


def describe_any(head: bytes, convert: str) -> Foreign:
    """As `describe`; what is not known is shown by its first bytes, and may be a damaged download."""
    if not head:
        return Foreign("an empty file", _FETCH)
    return describe(head, convert) or Foreign(f"bytes that start with {head[:8]!r}", _FETCH)
