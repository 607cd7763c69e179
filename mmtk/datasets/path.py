"""PathMNIST: colorectal cancer histology from NCT-CRC-HE (Kather et al. 2019). TIFF tiles in class folders."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import Colour, Counts, Dataset, Resize, Source, Task

PATH = register(Dataset(
    flag="pathmnist", title="PathMNIST", modality="colon pathology",
    task=Task.MULTICLASS,
    classes=(
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    channels=3,
    counts={"2020": Counts(89996, 10004, 7180), "2024": Counts(89996, 10004, 7180)},
    source=Source(
        "NCT-CRC-HE-100K and CRC-VAL-HE-7K", licence="CC BY 4.0", page="https://doi.org/10.5281/zenodo.1214456",
        layout="{NCT-CRC-HE-100K,CRC-VAL-HE-7K}/<class>/<class>-<id>.tif",
        citation="Kather et al., Predicting survival from colorectal cancer histology slides using deep learning, "
        "PLOS Medicine 16(1), e1002730, 2019",
        marks=("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"),
    ),
    recipe=(Colour(), Resize("bilinear")),
    md5={
        "2020:28": "a8b06965200029087d5bd730944a56c1",
        "2024:28": "a8b06965200029087d5bd730944a56c1",
        "2024:64": "55aa9c1e0525abe5a6b9d8343a507616",
        "2024:128": "ac42d08fb904d92c244187169d1fd1d9",
        "2024:224": "2c51a510bcdc9cf8ddb2af93af1eadec",
    },
    notes=(
        "The 100K set is cut 9:1 per class into train and val, the 7K set is test; the 100K names tell no patient.",
        "The recipe rests on a JPEG copy of one tile. Sizes other than 28 are unverified.",
    ),
))
