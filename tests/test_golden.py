"""The whole way from seeded phantoms to stores gives known pixels, labels and records, on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import mmtk
from mmtk.datasets import TEN
from mmtk.phantom import write_phantom

# of images, labels and records of the splits in turn; facts stay out, since they name mmtk's version
GOLDEN = {
    ("pathmnist", 28, ""): "366a23fc7fed9e8d36a935cd95bbde65453369815079d0969b27c8b02b7783f5",
    ("pathmnist", 64, ""): "d378d500ea2bceb9e4cea52d03eeb0bf300fb1adb3694759df477486ee595313",
    ("pathmnist", 128, ""): "bfc4adb01a07eff186f81306074ee056c99905182f033c2b823628bd2604763d",
    ("pathmnist", 224, ""): "91003c91b6e2c024f315ddecff6d2f2016228811aa71be5a53817cef30bddd9b",
    ("pathmnist", 28, "clean"): "366a23fc7fed9e8d36a935cd95bbde65453369815079d0969b27c8b02b7783f5",
    ("chestmnist", 28, ""): "ea52863dfaa48ac8d1a9f9c0e69104bfcfc5d8e1b2d8da8f8e3acff4560ac1ef",
    ("chestmnist", 64, ""): "230c1dd04b7c96aea168f87e1d98d9a68f0236ca6f953a03bc94905f979ff8d1",
    ("chestmnist", 128, ""): "0e08ea171c82404e1b3983e662cb9ba89942b0c7283973b27a8546a774b6da07",
    ("dermamnist", 28, ""): "c4e1d2ede743567c8fab9f31bf80bbdc60a2ba015ff6485437f9ccdbef8621bd",
    ("dermamnist", 64, ""): "f117f9031c530a2c5d071669ff2d4dbf3cf63659323202f1c109d903c764371c",
    ("dermamnist", 128, ""): "e110f4529efe62d67e9d695696080ae1858947afbc6a0b6098e061d15d5e123f",
    ("dermamnist", 224, ""): "402a868b671e8192c83018b8643e9ec3adfdf163f2f69b5ce519bf51ac950814",
    ("dermamnist", 28, "clean"): "4d8a214361a695e7fdad808e68bac7a92475769b72b67cd47c5d9dd5b17d8c4c",
    ("dermamnist", 28, "2024"): "c4e1d2ede743567c8fab9f31bf80bbdc60a2ba015ff6485437f9ccdbef8621bd",
    ("dermamnist", 28, "grouped"): "8272bf5419c5f9664505b5f44d0670fc63372da38377f014aa41769b2a22dee1",
    ("octmnist", 28, ""): "fafe9822b733bf81d392f720a26277a28fefb3f349ea216e777632b267647862",
    ("octmnist", 64, ""): "8c29cacf42b2b29e017553f4200f012216063c6910572c23c779bd20030bd28e",
    ("octmnist", 128, ""): "69a6877291df92d7ea901dc199fcbd3ce60665deb754e8c2efd06b804f1fdf10",
    ("octmnist", 28, "clean"): "1ab3d26c3bacba4fe1386b180a04a7365240c6a7e150fff77d53e25610a09cc8",
    ("octmnist", 28, "2024"): "fafe9822b733bf81d392f720a26277a28fefb3f349ea216e777632b267647862",
    ("pneumoniamnist", 28, ""): "22573db13125758913463702efbc1ae5140ab5949746a5d7004eef728336d327",
    ("pneumoniamnist", 64, ""): "20683dba5dacb2110d53539d8dea353dfd6411998c898237a4c8a9f062a20c81",
    ("pneumoniamnist", 128, ""): "cd03e3d4ecbb94332476735ce9540108fab0319fd4777ab5c91a1f55b06a4498",
    ("pneumoniamnist", 28, "clean"): "26f597539ca7973ae69b4967f0788855b51db20adfff9cae67b1513c5692a672",
    ("pneumoniamnist", 28, "grouped"): "7efdad5bc356c10627d8e6b2e67761e6f902122f84fc51e58dd7413fa0f85027",
    ("retinamnist", 28, ""): "cac7cad2c621c846daf4cd8188140cb4f3ab5c067923bd230cdde5758b26929b",
    ("retinamnist", 64, ""): "71cefd3697d168599b27f4db0d0df91b5f5c65b82029f0293b804ed835acda71",
    ("retinamnist", 128, ""): "6592abba98162d27b13e2ab97f14de06f26a752aae1327b432a3894e0da789d6",
    ("retinamnist", 28, "clean"): "b767ad126cc3a959fe382792001fc9fb1837ef0effc37757944ad53a464c30f0",
    ("breastmnist", 28, ""): "df5c572332a6faef38d4247c830287fe89efa4703ca6c978a1a9ba57133219c7",
    ("breastmnist", 64, ""): "1a1646b84bb7e0c9b01778be2085757d81012b48f0ce2060d4f09d1e0f9c2fba",
    ("breastmnist", 128, ""): "c784d2641c5a2a00eb2042223edbbbca55e34497ee91a52e88cdb417e8434a87",
    ("breastmnist", 224, ""): "1371f49b20d287aad294f83a37797b6e364bfefb35b685a1f7a57886cc682657",
    ("breastmnist", 28, "clean"): "df5c572332a6faef38d4247c830287fe89efa4703ca6c978a1a9ba57133219c7",
    ("breastmnist", 28, "2024"): "df5c572332a6faef38d4247c830287fe89efa4703ca6c978a1a9ba57133219c7",
    ("organamnist", 28, ""): "709ac067d556d0d3be56aa36fbfe80468d7d3f98dad168071206c4fce92ca58d",
    ("organamnist", 64, ""): "bfb495e7fb935d30e367912650adc34ec36a69df7b87bf8353bb1026cb724051",
    ("organamnist", 128, ""): "47e6b45e810630acb5d620ff90cb9a76ef2f02c282fb288ef4b0e00ddb3ee9d1",
    ("organamnist", 224, ""): "d47a7549a1ec85f1893a85a28a5eba7d9e681e55b793d92b1f78d5b306a43d87",
    ("organamnist", 28, "clean"): "9c7de0b08d67f278513951f1d1485de698db207c2032b93103d1dec564297363",
    ("organamnist", 64, "clean"): "4c027e1e55aafdc998e7ba5717381b406cc82d814b73e308c57ee1f067e2f78e",
    ("organamnist", 28, "2024"): "49a640e314282c5e9b427aac138e04f8962743e32d383baf1a41e0f1c894f26f",
    ("organcmnist", 28, ""): "bd7d1097e08f23890aef1c9b99e52bc83c19c196bccdf9513254e8cf21282f23",
    ("organcmnist", 64, ""): "afa5da3fb83fd02fc2e2595fcd43b29d36463879c6a92417639cd0f126f06ab6",
    ("organcmnist", 128, ""): "2004b0eb8debd48e7509a39e66084ba2f67f182bf3ac301e22f8326fc52906ca",
    ("organcmnist", 28, "2024"): "bd7d1097e08f23890aef1c9b99e52bc83c19c196bccdf9513254e8cf21282f23",
    ("organsmnist", 28, ""): "0fd62bcdf09bd8b467de832bf9a61bc4c3a166e90056bd431d482358a5d7aa2d",
    ("organsmnist", 64, ""): "3d78fae5ac2dc6bde25a4c02f29ee414b510fcd4a335d4207ad309d9c15232eb",
    ("organsmnist", 128, ""): "d44c52792de970a6b1511882f07f143fa07d57095e414cfd9165ff718265557d",
    ("organsmnist", 28, "2024"): "0fd62bcdf09bd8b467de832bf9a61bc4c3a166e90056bd431d482358a5d7aa2d",
}


CHOICES = {"": {}, "clean": {"pixels": "clean"}, "2024": {"edition": "2024"}, "grouped": {"split": "grouped"}}


@pytest.mark.parametrize("flag", TEN)
def test_stores_of_seeded_phantoms(flag: str, tmp_path: Path) -> None:
    write_phantom(flag, tmp_path / "sources", scale=0.001, seed=7)
    wanted = {key: value for key, value in GOLDEN.items() if key[0] == flag}
    found = {}
    for choice, options in CHOICES.items():
        if sizes := [size for _, size, chosen in wanted if chosen == choice]:
            folders = {"sources": tmp_path / "sources", "out": tmp_path / f"out{choice}"}
            results = mmtk.build(flag, **folders, sizes=sizes, **options)
            found |= {(flag, result.size, choice): digest_of(mmtk.open(result.path)) for result in results}
    assert found == wanted


def digest_of(store: mmtk.Store) -> str:
    digest = hashlib.sha256()
    for split in store.splits:
        for array in (split.images, split.labels, split.records):
            digest.update(f"{array.shape} {array.dtype.descr}".encode() + array.tobytes())
    return digest.hexdigest()
