"""Providers' archives: a zip is read in place, a tar is unpacked once, and neither is trusted."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from mmtk.errors import SourceError

TAR_ENDINGS = (".tar.gz", ".tgz", ".tar")
UNPACKED = ".unpacked"  # beside x.tar.gz stands x.unpacked
_MOST = 100  # times an archive's size it may unpack to: CT and X-rays shrink to a half, masks to a fiftieth
_SMALL = 10 << 20  # bytes below which that is no danger
_AGAIN = "get it again from its provider"


@dataclass(frozen=True)
class ZipMember:
    """A file inside a zip; it opens like a path and is named ``archive.zip/name``."""

    archive: ZipArchive
    name: str

    def open(self, mode: str = "rb") -> IO[bytes]:
        """The file's bytes; its checksum is compared at their end.

        Raises
        ------
        OSError, zipfile.BadZipFile, zlib.error, EOFError
            If the archive is damaged there.
        """
        return self.archive.file.open(self.name)

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
        If it is damaged, encrypted, packed in a way Python cannot read, or not to be trusted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise SourceError(path, expected="a whole zip archive", found=str(error), remedy=_AGAIN) from None
        members = [member for member in self.file.infolist() if not member.is_dir()]
        for member in members:
            _expect_inside(path, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _distrusted(path, f"a link at {member.filename}")
            if member.flag_bits & 1:
                raise SourceError(path, expected="an archive without a password", found=member.filename)
        _expect_no_bomb(path, sum(member.file_size for member in members))
        self.names = tuple(sorted({member.filename for member in members}))
        if len(self.names) != len(members):
            raise SourceError(path, expected="each name once", found="one twice", remedy=_AGAIN)

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
    drawn = final.with_name(f".{final.name}.{os.getpid()}")
    taken = 0
    try:
        drawn.mkdir()
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                _expect_inside(archive, member.name)
                if member.isdir():
                    continue
                if not member.isfile():
                    raise _distrusted(archive, f"a link or device at {member.name}")
                taken += member.size
                _expect_no_bomb(archive, taken)
                target = drawn / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                with target.open("xb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
        drawn.rename(final)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise SourceError(archive, expected="a whole tar archive", found=str(error), remedy=_AGAIN) from None
    except FileExistsError as error:
        raise SourceError(archive, expected="each name once", found=f"{error.filename} twice", remedy=_AGAIN) from None
    except OSError as error:
        remedy = "unpack it yourself into a folder of the source"
        raise SourceError(
            archive, expected="room to unpack it beside itself", found=error.strerror or str(error), remedy=remedy
        ) from None
    finally:
        shutil.rmtree(drawn, ignore_errors=True)
    return final


def _expect_inside(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0] or "\0" in name:
        raise _distrusted(archive, f"the name {name!r}")


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
