"""Providers' archives: a zip is read in place, a tar is unpacked once, and neither is trusted."""

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
UNPACKED = ".unpacked"  # beside x.tar.gz stands x.unpacked
_MOST = 100  # times an archive's size it may unpack to: CT and X-rays shrink to a half, masks to a fiftieth
_SMALL = 10 << 20  # bytes below which that is no danger
_LONGEST_LIST = 32 << 20  # bytes of a zip's list of members: 300,000 names
_DEEPEST = 100  # folders in each other
_ENCRYPTED = 0x01 | 0x20 | 0x40  # flags of a zip's member: encrypted, patched, strongly encrypted
_LINKS_AND_DEVICES = {stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
_PACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open,
}
_AGAIN = "get it again from its provider"
_UNPACK = "unpack it yourself into a folder of the source"


@dataclass(frozen=True)
class ZipMember:
    """A file inside a zip; it opens like a path and is named ``archive.zip/name``."""

    archive: ZipArchive
    name: str

    def open(self, mode: str = "rb") -> IO[bytes]:
        """The file's bytes; its checksum is compared at their end.

        Raises
        ------
        OSError, zipfile.BadZipFile
            If the system fails, or the archive is damaged there.
        """
        return cast(IO[bytes], MemberReader(self.archive.file, self.name))

    def __fspath__(self) -> str:
        return f"{self.archive.path}/{self.name}"

    __str__ = __fspath__


class ZipArchive:
    """A zip that was checked: its names stay inside, it holds no links and no bomb.

    Parameters
    ----------
    path : Path

    Raises
    ------
    SourceError
        If it is damaged, encrypted, packed other than by deflate, cannot be read, or is not to be trusted.
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
                raise _distrusted(path, f"a link or device at {member.filename}")
            if member.flag_bits & _ENCRYPTED:
                raise SourceError(path, expected="an archive without a password", found=member.filename, remedy=_UNPACK)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile lets no other one unpack a part at a time
                found = f"{member.filename} packed by method {member.compress_type}"
                raise SourceError(path, expected="an archive packed by deflate", found=found, remedy=_UNPACK)
        _expect_no_bomb(path, sum(member.file_size for member in members))
        self.names = tuple(sorted({member.filename for member in members}))
        if len(self.names) != len(members):
            raise SourceError(path, expected="each name once", found="one twice", remedy=_AGAIN)

    def __reduce__(self) -> tuple[type[ZipArchive], tuple[Path]]:
        """It pickles as its path, and is opened and checked again where it arrives."""
        return ZipArchive, (self.path,)

    def member(self, name: str) -> ZipMember:
        """A file by its name."""
        return ZipMember(self, name)


def unpacked_folder(archive: Path) -> Path:
    """Where a tar is unpacked: beside it, ``images_001.unpacked`` for ``images_001.tar.gz``."""
    for ending in TAR_ENDINGS:
        if archive.name.lower().endswith(ending):
            return archive.with_name(archive.name[: -len(ending)] + UNPACKED)
    return archive.with_name(archive.name + UNPACKED)


def unpack_tar(archive: Path) -> Path:
    """Unpack a tar, whole or not at all, and once.

    Parameters
    ----------
    archive : Path
        A ``.tar``, ``.tar.gz`` or ``.tgz``.

    Returns
    -------
    Path
        The folder beside it; one that is there already is left alone.

    Raises
    ------
    SourceError
        If it is damaged, holds links, devices or names that lead outside, unpacks to a hundred times its size, or
        there is no room.
    """
    final = unpacked_folder(archive)
    if final.is_dir():
        return final
    try:
        with writing(final, folder=True) as drawn:
            _unpack(archive, drawn)
            if not final.is_dir():  # by now
                publish(drawn, final)
    except StoreError as error:
        raise SourceError(
            archive, expected="room to unpack it beside itself", found=error.found, remedy=_UNPACK
        ) from None
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
                    raise _distrusted(archive, f"a {member.kind} at {member.name}")
                taken += member.size
                _expect_no_bomb(archive, taken)
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    for chunk in member.content:
                        file.write(chunk)
            while stream.read(1 << 20):  # to the end, where the checksum of what was unpacked is compared
                pass
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        twice = os.path.relpath(error.filename or folder, folder)
        raise SourceError(archive, expected="each name once", found=f"{twice} twice", remedy=_AGAIN) from None
    except (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError, TarDamage) as error:
        of_archive = getattr(error, "filename", None) == str(archive)
        if getattr(error, "errno", None) in _NO_ROOM and not of_archive:
            raise SourceError(
                archive, expected="room to unpack it beside itself", found=reason_of(error), remedy=_UNPACK
            ) from None
        raise _unreadable(archive, "tar", error) from None


class _Limited(io.RawIOBase):
    """An unpacked stream that ends in an error where it grows past all measure, names and padding included."""

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
    """The tar's own bytes, by what it is packed with; all of these compare checksums, the last one at the very end."""
    raw = stack.enter_context(archive.open("rb"))
    head = raw.read(6)
    raw.seek(0)
    for signature, opener in _PACKERS.items():
        if head.startswith(signature):
            return _Limited(cast(IO[bytes], stack.enter_context(opener(raw))), archive)
    return _Limited(raw, archive)


class _Listed(io.FileIO):
    """A zip whose list of members is refused where zipfile would read more of it than memory should hold."""

    listed = False

    def read(self, count: int | None = -1) -> bytes:
        if not self.listed and count is not None and count > _LONGEST_LIST:
            raise zipfile.BadZipFile(f"a list of its files of {count} bytes")
        return cast(bytes, super().read(-1 if count is None else count))

    def __del__(self) -> None:  # as a ZipFile closes what it opened itself
        self.close()


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip by its list of members.

    Raises
    ------
    OSError, zipfile.BadZipFile
        If the system fails, or it is damaged.
    """
    raw = _Listed(path)
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
    """What keeps an archive from being read: the system, a pointer in its place, or damage."""
    if is_of_system(error):
        remedy = system_remedy(getattr(error, "errno", None))
        return SourceError(archive, expected=f"a readable {kind} archive", found=reason_of(error), remedy=remedy)
    with archive.open("rb") as file:
        stands = identify_placeholder(file.read(MOST_BYTES))
    found, remedy = stands or (reason_of(error), _AGAIN)
    return SourceError(archive, expected=f"a whole {kind} archive", found=found, remedy=remedy)


def _expect_inside(archive: Path, name: str, folder: bool = False) -> None:
    path = PurePosixPath(name)
    first = path.parts[0] if path.parts else "" if folder else ":"  # the root itself is a folder and nothing else
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in first or "\0" in name:
        raise _distrusted(archive, f"the name {name!r}")
    if len(path.parts) > _DEEPEST:
        raise _distrusted(archive, f"{len(path.parts)} folders in each other")


def _expect_no_bomb(archive: Path, total: int) -> None:
    size = archive.stat().st_size
    if total > max(_MOST * size, _SMALL):
        found = f"{total / 1e6:,.0f} MB in {size / 1e6:,.1f} MB"
        raise SourceError(
            archive, expected=f"at most {_MOST} times its size", found=found, remedy="do not trust this file"
        )


def _distrusted(archive: Path, found: str) -> SourceError:
    return SourceError(
        archive, expected="plain files under names that stay inside", found=found, remedy="do not trust this file"
    )
