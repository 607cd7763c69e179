"""Providers' archives: a zip is read in place, a tar is unpacked once. Neither is trusted."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from mmtk.datasets._members import MemberReader
from mmtk.datasets._tar import TarDamage, read_members
from mmtk.errors import SourceError, StoreError, is_of_system, reason_of, system_remedy
from mmtk.files import publish, writing
from mmtk.imaging.filetypes import MOST_BYTES, identify_placeholder

TAR_ENDINGS = (".tar.gz", ".tgz", ".tar")
UNPACKED = ".unpacked"  # x.tar.gz is unpacked to x.unpacked next to it
_MOST = 100  # largest ratio of unpacked to packed size: CT and X-rays compress to a half, masks to a fiftieth
_SMALL = 10 << 20  # bytes: below this size the ratio does not matter
_LONGEST_LIST = 32 << 20  # bytes of a zip's central directory: 300,000 names
_DEEPEST = 100  # nested folders
_ENCRYPTED = 0x01 | 0x20 | 0x40  # flags of a zip's member: encrypted, patched, strongly encrypted
_LINKS_AND_DEVICES = {stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_PACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open,
}
_AGAIN = "download it again from its provider"
_UNPACK = "unpack it yourself into a folder of the source"
_DISTRUST = "do not trust this file"


@dataclass(frozen=True)
class ZipMember:
    """A file inside a zip; it opens like a path and is named ``archive.zip/name``."""

    archive: ZipArchive
    name: str

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open the file; its checksum is compared at the end.

        Raises
        ------
        OSError, zipfile.BadZipFile
            If the system fails, or this part of the archive is damaged.
        """
        return cast(IO[bytes], MemberReader(self.archive.file, self.name))

    def __fspath__(self) -> str:
        return f"{self.archive.path}/{self.name}"

    __str__ = __fspath__


class ZipArchive:
    """A checked zip: its paths stay inside, and it has no links and is not a decompression bomb.

    Parameters
    ----------
    path : Path

    Raises
    ------
    SourceError
        If it cannot be read, is damaged or encrypted, uses a compression other than deflate, or is unsafe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = open_zip(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise _unreadable(path, "zip", error) from None
        members = [member for member in self.file.infolist() if not member.filename.endswith("/")]
        for member in members:
            _expect_inside(path, member.orig_filename.replace("\\", "/"))
            if stat.S_IFMT(member.external_attr >> 16) in _LINKS_AND_DEVICES:
                raise _unsafe(path, f"it contains a link or device, {member.filename}")
            if member.flag_bits & _ENCRYPTED:
                raise SourceError(path, f"is protected by a password ({member.filename})", remedy=_UNPACK)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile cannot decompress any other method piecewise
                problem = f"uses the unsupported compression method {member.compress_type} for {member.filename}"
                raise SourceError(path, problem, remedy=_UNPACK)
        _expect_no_bomb(path, sum(member.file_size for member in members))
        self.names = tuple(sorted({member.filename for member in members}))
        if len(self.names) != len(members):
            raise _twice(path, next(n for n, count in Counter(m.filename for m in members).items() if count > 1))

    def __reduce__(self) -> tuple[type[ZipArchive], tuple[Path]]:
        """Pickle as the path; the archive is opened and checked again when unpickled."""
        return ZipArchive, (self.path,)

    def member(self, name: str) -> ZipMember:
        """A file by its name."""
        return ZipMember(self, name)


def unpacked_folder(archive: Path) -> Path:
    """The folder a tar is unpacked to, next to it: ``images_001.unpacked`` for ``images_001.tar.gz``."""
    for ending in TAR_ENDINGS:
        if archive.name.lower().endswith(ending):
            return archive.with_name(archive.name[: -len(ending)] + UNPACKED)
    return archive.with_name(archive.name + UNPACKED)


def unpack_tar(archive: Path) -> Path:
    """Unpack a tar completely or not at all, unless it was unpacked before.

    Parameters
    ----------
    archive : Path
        A ``.tar``, ``.tar.gz`` or ``.tgz``.

    Returns
    -------
    Path
        The folder next to it; an existing one is used as it is.

    Raises
    ------
    SourceError
        If it is damaged, contains links, devices or paths that lead outside, unpacks to more than a hundred times its
        size, or cannot be unpacked for lack of space or permission.
    """
    final = unpacked_folder(archive)
    if final.is_dir():
        return final
    try:
        with writing(final, folder=True) as temporary:
            _unpack(archive, temporary)
            if not final.is_dir():  # another process may have been faster
                publish(temporary, final)
    except StoreError as error:
        reason = error.found or error.problem.removeprefix("cannot be written: ")
        raise SourceError(archive, f"cannot be unpacked: {reason}", remedy=_UNPACK) from None
    return final


def _unpack(archive: Path, folder: Path) -> None:
    taken = 0
    try:
        with ExitStack() as stack:
            stream = _unpacked(archive, stack)
            for member in read_members(cast(IO[bytes], stream)):
                _expect_inside(archive, member.name, member.kind == "folder")
                if member.kind == "folder":
                    continue
                if member.kind != "file":
                    raise _unsafe(archive, f"it contains a {member.kind}, {member.name}")
                taken += member.size
                _expect_no_bomb(archive, taken)
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    for chunk in member.content:
                        file.write(chunk)
            while stream.read(1 << 20):  # to the end, where the checksum is compared
                pass
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _twice(archive, os.path.relpath(error.filename or folder, folder)) from None
    except (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError, TarDamage) as error:
        of_archive = getattr(error, "filename", None) == str(archive)
        if getattr(error, "errno", None) in _NO_ROOM and not of_archive:
            raise SourceError(archive, f"cannot be unpacked: {reason_of(error)}", remedy=_UNPACK) from None
        raise _unreadable(archive, "tar", error) from None


class _BoundedStream(io.RawIOBase):
    """A decompressed stream that fails once it is implausibly long, names and padding included."""

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        super().__init__()
        self._stream, self._archive = stream, archive
        self._taken = 0

    def read(self, count: int | None = -1) -> bytes:
        data = self._stream.read(-1 if count is None else count)
        self._taken += len(data)
        _expect_no_bomb(self._archive, self._taken // 2)
        return data


def _unpacked(archive: Path, stack: ExitStack) -> io.RawIOBase:
    """The decompressed bytes of a tar; every decompressor compares checksums, the last of them at the end."""
    raw = stack.enter_context(archive.open("rb"))
    head = raw.read(6)
    raw.seek(0)
    for signature, opener in _PACKERS.items():
        if head.startswith(signature):
            return _BoundedStream(cast(IO[bytes], stack.enter_context(opener(raw))), archive)
    return _BoundedStream(raw, archive)


class _BoundedFile(io.FileIO):
    """A zip file that refuses to read a central directory of implausible length."""

    listed = False

    def read(self, count: int | None = -1) -> bytes:
        if not self.listed and count is not None and count > _LONGEST_LIST:
            raise zipfile.BadZipFile(f"its list of files has {count} bytes")
        return cast(bytes, super().read(-1 if count is None else count))

    def __del__(self) -> None:  # a ZipFile only closes files that it opened itself
        self.close()


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip and read its list of members.

    Raises
    ------
    OSError, zipfile.BadZipFile
        If the system fails, or the zip is damaged.
    """
    raw = _BoundedFile(path)
    try:
        archive = zipfile.ZipFile(raw)
        raw.listed = True
        for member in archive.infolist():
            member.filename = member.filename.replace("\\", "/")  # written by some Windows programs
            archive.NameToInfo[member.filename] = member
    except (NotImplementedError, ValueError, OverflowError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from None
    finally:
        if not raw.listed:
            raw.close()
    return archive


def _unreadable(archive: Path, kind: str, error: BaseException) -> SourceError:
    """The error for an archive that cannot be read: the system's reason, a placeholder in its place, or damage."""
    if is_of_system(error):
        remedy = system_remedy(getattr(error, "errno", None))
        return SourceError(archive, f"cannot be read: {reason_of(error)}", remedy=remedy)
    with archive.open("rb") as file:
        placeholder = identify_placeholder(file.read(MOST_BYTES))
    if placeholder is not None:
        return SourceError(archive, f"is {placeholder.name}, not a {kind} archive", remedy=placeholder.remedy)
    return SourceError(archive, f"is a damaged {kind} archive: {reason_of(error)}", remedy=_AGAIN)


def _expect_inside(archive: Path, name: str, folder: bool = False) -> None:
    path = PurePosixPath(name)
    first = path.parts[0] if path.parts else "" if folder else ":"  # the root itself is a folder and nothing else
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in first or "\0" in name:
        raise _unsafe(archive, f"it contains the path {name!r}")
    if len(path.parts) > _DEEPEST:
        raise _unsafe(archive, f"it contains {len(path.parts)} nested folders")


def _expect_no_bomb(archive: Path, total: int) -> None:
    size = archive.stat().st_size
    if total > max(_MOST * size, _SMALL):
        problem = f"unpacks to more than {_MOST} times its size: {size / 1e6:,.1f} MB to {total / 1e6:,.0f} MB"
        raise SourceError(archive, problem, remedy=_DISTRUST)


def _unsafe(archive: Path, reason: str) -> SourceError:
    return SourceError(archive, f"is unsafe to unpack: {reason}", remedy=_DISTRUST)


def _twice(archive: Path, name: str) -> SourceError:
    return SourceError(archive, f"contains {name} twice", remedy=_AGAIN)
