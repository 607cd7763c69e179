"""OCTMNIST: retinal optical coherence tomography from Kermany et al. 2018. JPEGs in part and class folders."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import CenterCrop, Counts, Dataset, Grey, Resize, RoundTrip, Source, Task

OCT = register(Dataset(
    flag="octmnist", title="OCTMNIST", modality="retinal OCT",
    task=Task.MULTICLASS, classes=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    channels=1,
    counts={"2020": Counts(97477, 10832, 1000), "2024": Counts(97477, 10832, 1000)},
    source=Source(
        "Kermany OCT", licence="CC BY 4.0", page="https://data.mendeley.com/datasets/rscbjbr9sj/3",
        layout="OCT2017/{train,test}/{CNV,DME,DRUSEN,NORMAL}/<class>-<patient>-<number>.jpeg",
        citation="Kermany et al., Identifying medical diagnoses and treatable diseases by image-based deep learning, "
        "Cell 172(5), 1122-1131, 2018",
        marks=("OCT2017", "train/DRUSEN", "test/DRUSEN"),
    ),
    recipe=(Grey(), CenterCrop(), Resize("bilinear"), RoundTrip("jpeg", 75)),
    md5={
        "2020:28": "c68d92d5b585d8d81f7112f81e2d0842",
        "2024:28": "c68d92d5b585d8d81f7112f81e2d0842",
        "2024:64": "e229e9440236b774d9f0dfef9d07bdaf",
        "2024:128": "0a97e76651ace45c5d943ee3f65b63ae",
        "2024:224": "abc493b6d529d5de7569faaef2773ba3",
    },
    notes=(
        "Only Mendeley's versions 2 and 3 give the published counts; Kaggle's copy is cut differently.",
        "The provider's train part is cut 9:1 per class into train and val, not by patient; its test part is test.",
        "Crop and JPEG round trip are inferred. Sizes other than 28 are unverified.",
    ),
))
