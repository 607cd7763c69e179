"""The containers of official files, to the byte, against archives that the standard library writes."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.store._zip import CONTAINERS, ZIP64_LIMIT, write_zip
from tests.small_stores import small_info, write_small_store

ARRAYS = {f"{split}_{kind}" for split in store.SPLITS for kind in ("images", "labels")}
KINDS = {
    "2020": "train_images val_images test_images train_labels val_labels test_labels",
    "2021": "train_images train_labels val_images val_labels test_images test_labels",
    "2022": "train_images train_labels val_images val_labels test_images test_labels",
    "2024": "train_images train_labels val_images val_labels test_images test_labels",
}
SYSTEMS = {"2020": 3, "2021": 3, "2022": 3, "2024": 0}


class OldInfo(zipfile.ZipInfo):
    """A member as Python before 3.11.4 wrote it: where it passes no limit, its zip64 field stands beside its sizes."""

    def FileHeader(self, zip64=None):
        if max(self.file_size, self.compress_size) > zipfile.ZIP64_LIMIT:
            return super().FileHeader(True)
        kept = self.extra
        self.extra = kept + struct.pack("<2H2Q", 1, 16, self.file_size, self.compress_size)
        try:
            return super().FileHeader(False)
        finally:
            self.extra = kept


def by_zipfile(members: dict[str, bytes], system: int, comment: bytes = b"", kind=OldInfo) -> bytes:
    """The same archive, written by the standard library the way NumPy asks for it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = kind(name)
            info.create_system, info.compress_type = system, zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(content)
        archive.comment = comment
    return file.getvalue()


def by_mmtk(members: dict[str, bytes], system: int, comment: bytes = b"", **limit: int) -> bytes:
    file = io.BytesIO()
    cut = {name: [content[:700], content[700:]] for name, content in members.items()}
    write_zip(file, cut.items(), system, comment, **limit)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0))
    return file.getvalue()


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that deflate makes a little smaller."""
    return np.random.default_rng(seed).integers(0, 200, size, np.uint8).tobytes()


@pytest.mark.parametrize("edition", KINDS)
def test_the_three_kinds_are_those_of_the_official_files(edition):
    assert CONTAINERS[edition].arrays == tuple(KINDS[edition].split())
    assert CONTAINERS[edition].system == SYSTEMS[edition]
    assert set(CONTAINERS) == set(KINDS)


@pytest.mark.parametrize(("flag", "size", "edition", "kind"), [
    ("breastmnist", 28, "2020", "2020"), ("breastmnist", 28, "2024", "2020"), ("breastmnist", 64, "2020", "2024"),
    ("breastmnist", 64, "2024", "2024"), ("breastmnist", 40, "2020", "2024"), ("breastmnist", 28, "unknown", "2024"),
    ("organamnist", 28, "2020", "2020"), ("organamnist", 28, "2024", "2024"), ("organamnist", 64, "2024", "2024"),
    ("bloodmnist", 28, "2021", "2021"), ("bloodmnist", 28, "2024", "2021"), ("bloodmnist", 64, "2021", "2024"),
    ("bloodmnist", 224, "2024", "2024"), ("nodulemnist3d", 28, "2021", "2021"), ("nodulemnist3d", 28, "2022", "2022"),
    ("nodulemnist3d", 28, "2024", "2022"), ("organmnist3d", 28, "2021", "2021"), ("organmnist3d", 28, "2024", "2024"),
    ("organmnist3d", 64, "2024", "2024"), ("catmnist", 28, "2020", "2024"),
])
@pytest.mark.parametrize("partial", [False, True])
def test_an_export_is_of_its_edition_and_size_to_the_byte(tmp_path, flag, size, edition, kind, partial):
    kind_of = {"ndim": 3 if flag.endswith("3d") else 2, "channels": 3 if flag == "bloodmnist" else 1}
    kind_of |= {"partial": partial, "size": size}
    opened = store.open(write_small_store(tmp_path / "a.h5", (3, 1, 2), flag=flag, **kind_of))
    arrays = {split.name: (split.images, split.labels, split.records) for split in opened.splits}
    info = replace(small_info(flag, **kind_of), edition=edition)
    opened = store.open(store.write_store(tmp_path / "b.h5", info, arrays))
    written = store.export_npz(opened, tmp_path).read_bytes()
    members = {
        f"{name}.npy": npy(arrays[name.split("_")[0]][name.endswith("labels")]) for name in KINDS[kind].split()
    }
    assert written == by_zipfile(members, SYSTEMS[kind], b"PARTIAL" if partial else b"")


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6), limit=st.integers(0, 6000),
    system=st.sampled_from([0, 3]), comment=st.sampled_from([b"", b"SYNTHETIC"]),
)
def test_members_above_the_limit_are_zip64_as_the_library_writes_it(sizes, limit, system, comment):
    members = {f"member{number}.npy": content(size, number) for number, size in enumerate(sizes)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", limit)
        expected = by_zipfile(members, system, comment)
    written = by_mmtk(members, system, comment, limit=limit)
    assert written == expected
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert archive.comment == comment


def test_where_every_member_is_large_todays_library_writes_the_same(monkeypatch):
    members = {f"member{number}.npy": content(2000, number) for number in range(3)}
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    assert by_mmtk(members, 0, limit=1000) == by_zipfile(members, 0, kind=zipfile.ZipInfo)


@pytest.mark.parametrize("limit", [50, 500, 2000])
def test_numpy_reads_what_is_zip64(tmp_path, limit):
    arrays = {name: np.arange(n * 3, dtype=np.uint8).reshape(n, 3) for n, name in enumerate(sorted(ARRAYS), 200)}
    members = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    (tmp_path / "x.npz").write_bytes(by_mmtk(members, 0, limit=limit))
    with np.load(tmp_path / "x.npz") as archive:
        assert all(np.array_equal(archive[name], array) for name, array in arrays.items())


def test_the_limit_is_that_of_zipfile_and_not_the_formats_four_gib():
    assert ZIP64_LIMIT == zipfile.ZIP64_LIMIT == 2**31 - 1
