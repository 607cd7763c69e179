"""BloodMNIST: single cells of healthy blood (Acevedo et al. 2020)."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import OFFICIAL_ALONE, Counts, Dataset, Source, Task

BLOOD = register(Dataset(
    flag="bloodmnist", title="BloodMNIST", modality="blood cell microscopy",
    task=Task.MULTICLASS,
    classes=(
        "basophil", "eosinophil", "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    ),
    channels=3,
    counts={"2021": Counts(11959, 1712, 3421), "2024": Counts(11959, 1712, 3421)},
    source=Source(
        "PBC, normal peripheral blood cells", licence="CC BY 4.0", page="https://doi.org/10.17632/snkd93bnjr.1",
        layout="",
        citation="Acevedo et al., A dataset of microscopic peripheral blood cell images for development of automatic "
        "recognition systems, Data in Brief 30, 105474, 2020",
    ),
    md5={
        "2021:28": "7053d0359d879ad8a5505303e11de1dc",
        "2024:28": "7053d0359d879ad8a5505303e11de1dc",
        "2024:64": "2b94928a2ae4916078ca51e05b6b800b",
        "2024:128": "adace1e0ed228fccda1f39692059dd4c",
        "2024:224": "b718ff6835fcbdb22ba9eacccd7b2601",
    },
    notes=(
        OFFICIAL_ALONE,
        "17,092 cells, cut 7:1:2; the centre 200 x 200 pixels of each photograph are what was made small.",
    ),
))
