"""MedMNIST files that a stranger sends: bombs, arrays that are there twice, sizes that lie."""

from __future__ import annotations

import warnings
import zipfile

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import StoreError
from tests.commands import peak_of

SHAPES = (("images", (1, 28, 28)), ("labels", (1, 1)))


def _arrays():
    return {f"{split}_{name}": np.zeros(shape, "u1") for split in store.SPLITS for name, shape in SHAPES}


def _header(shape, kind="|u1", length=None) -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\2\0" + (len(text) if length is None else length).to_bytes(4, "little") + text


def _zeros(mebibytes: int) -> list[bytes]:
    return [bytes(1 << 20)] * mebibytes


# of an array's member: what it unpacks to
NPZ_BOMBS = {
    "labels": ("train_labels", [_header("(1072693248, 1)"), *_zeros(1023)]),
    "a header": ("train_labels", [_header("(1, 1)", length=0x7FFFFF00), *_zeros(2047)]),
    "one row": ("train_images", [_header("(1, 46341, 46341)"), *_zeros(2047)]),
}


@pytest.mark.parametrize("bomb", NPZ_BOMBS)
def test_an_npz_that_unpacks_to_gigabytes_takes_no_memory(tmp_path, bomb):
    path = tmp_path / "breastmnist.npz"
    name, parts = NPZ_BOMBS[bomb]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for array, values in _arrays().items():
            with archive.open(f"{array}.npy", "w") as member:
                if array == name:
                    for part in parts:
                        member.write(part)
                else:
                    np.save(member, values)
    peak, told = peak_of("store.import_npz(path, sys.argv[2])", path, tmp_path / "out")
    assert told.startswith(f"{path}: train_")
    assert peak < 128
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["val_labels", "facts"])
def test_an_array_that_is_there_twice_is_refused(tmp_path, name):
    path = tmp_path / "breastmnist.npz"
    np.savez(path, facts=np.zeros(2, np.uint8), **_arrays())
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(f"{name}.npy", archive.read(f"{name}.npy"))
    with pytest.raises(StoreError, match=f"array {name} 2 times"):
        store.import_npz(path, tmp_path / "out")


def test_a_member_that_claims_more_than_deflate_can_hold_is_refused(tmp_path):
    path = tmp_path / "breastmnist.npz"
    np.savez_compressed(path, **_arrays())
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\1\2", 0, data.rindex(b"test_labels.npy"))
    data[place + 24 : place + 28] = (0xFFFFFF00).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"test_labels\.npy claims .*4294967040 bytes in"):
        store.import_npz(path, tmp_path / "out")
