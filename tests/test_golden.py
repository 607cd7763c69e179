"""The whole way from seeded phantoms to stores gives known pixels, labels and records, on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import mmtk
from mmtk.phantom import write_phantom

# of images, labels and records of the splits in turn; facts stay out, since they name mmtk's version
GOLDEN = {
    ("pathmnist", 28): "366a23fc7fed9e8d36a935cd95bbde65453369815079d0969b27c8b02b7783f5",
    ("pathmnist", 64): "d378d500ea2bceb9e4cea52d03eeb0bf300fb1adb3694759df477486ee595313",
    ("chestmnist", 28): "ea52863dfaa48ac8d1a9f9c0e69104bfcfc5d8e1b2d8da8f8e3acff4560ac1ef",
    ("chestmnist", 64): "230c1dd04b7c96aea168f87e1d98d9a68f0236ca6f953a03bc94905f979ff8d1",
    ("dermamnist", 28): "c4e1d2ede743567c8fab9f31bf80bbdc60a2ba015ff6485437f9ccdbef8621bd",
    ("dermamnist", 64): "f117f9031c530a2c5d071669ff2d4dbf3cf63659323202f1c109d903c764371c",
    ("octmnist", 28): "fafe9822b733bf81d392f720a26277a28fefb3f349ea216e777632b267647862",
    ("octmnist", 64): "8c29cacf42b2b29e017553f4200f012216063c6910572c23c779bd20030bd28e",
    ("pneumoniamnist", 28): "22573db13125758913463702efbc1ae5140ab5949746a5d7004eef728336d327",
    ("pneumoniamnist", 64): "20683dba5dacb2110d53539d8dea353dfd6411998c898237a4c8a9f062a20c81",
    ("retinamnist", 28): "cac7cad2c621c846daf4cd8188140cb4f3ab5c067923bd230cdde5758b26929b",
    ("retinamnist", 64): "71cefd3697d168599b27f4db0d0df91b5f5c65b82029f0293b804ed835acda71",
    ("breastmnist", 28): "df5c572332a6faef38d4247c830287fe89efa4703ca6c978a1a9ba57133219c7",
    ("breastmnist", 64): "1a1646b84bb7e0c9b01778be2085757d81012b48f0ce2060d4f09d1e0f9c2fba",
    ("organamnist", 28): "709ac067d556d0d3be56aa36fbfe80468d7d3f98dad168071206c4fce92ca58d",
    ("organamnist", 64): "bfb495e7fb935d30e367912650adc34ec36a69df7b87bf8353bb1026cb724051",
    ("organcmnist", 28): "bd7d1097e08f23890aef1c9b99e52bc83c19c196bccdf9513254e8cf21282f23",
    ("organcmnist", 64): "afa5da3fb83fd02fc2e2595fcd43b29d36463879c6a92417639cd0f126f06ab6",
    ("organsmnist", 28): "0fd62bcdf09bd8b467de832bf9a61bc4c3a166e90056bd431d482358a5d7aa2d",
    ("organsmnist", 64): "3d78fae5ac2dc6bde25a4c02f29ee414b510fcd4a335d4207ad309d9c15232eb",
}


@pytest.mark.parametrize("flag", dict.fromkeys(flag for flag, _ in GOLDEN))
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
