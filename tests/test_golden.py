"""The whole way from seeded phantoms to stores gives known pixels, labels and records, on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import mmtk
from mmtk.phantom import write_phantom

# of images, labels and records of the splits in turn; facts stay out, since they name mmtk's version
GOLDEN = {
    ("breastmnist", 28): "df5c572332a6faef38d4247c830287fe89efa4703ca6c978a1a9ba57133219c7",
    ("breastmnist", 64): "ca54c750488c2bed27510634d6bca4a4915f31a5440e6541acd375086e26ac3f",
    ("pneumoniamnist", 28): "22573db13125758913463702efbc1ae5140ab5949746a5d7004eef728336d327",
    ("pneumoniamnist", 64): "3cfbf01d29c9a789471c253814a0a5ae349c69ed4acbb6b17d6f45ee4ca3c529",
    ("dermamnist", 28): "c4e1d2ede743567c8fab9f31bf80bbdc60a2ba015ff6485437f9ccdbef8621bd",
    ("dermamnist", 64): "8aa311ec238820212a0e8387791cb97f8d3224f6ae0f9ad071636ff75b532d7e",
}


@pytest.mark.parametrize("flag", ["breastmnist", "pneumoniamnist", "dermamnist"])
def test_stores_of_seeded_phantoms(flag: str, tmp_path: Path) -> None:
    write_phantom(flag, tmp_path / "sources", scale=0.001, seed=7)
    results = mmtk.build(flag, sources=tmp_path / "sources", out=tmp_path / "stores", sizes=(28, 64))
    found = {}
    for result in results:
        digest = hashlib.sha256()
        for split in mmtk.open(result.path).splits:
            for array in (split.images, split.labels, split.records):
                digest.update(f"{array.shape} {array.dtype.descr}".encode() + array.tobytes())
        found[flag, result.size] = digest.hexdigest()
    assert found == {key: value for key, value in GOLDEN.items() if key[0] == flag}
