"""TissueMNIST: cells of the human kidney cortex, BBBC051 (Woloshuk et al. 2021)."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import CONTAINER_OF_2021, OFFICIAL_ALONE, Counts, Dataset, Source, Task

TISSUE = register(Dataset(
    flag="tissuemnist", title="TissueMNIST", modality="kidney cortex microscopy",
    task=Task.MULTICLASS,
    classes=(
        "Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
        "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments",
        "Thick Ascending Limb",
    ),
    channels=1,
    counts={"2021": Counts(165466, 23640, 47280), "2024": Counts(165466, 23640, 47280)},
    source=Source(
        "BBBC051", licence="CC BY 4.0", page="https://bbbc.broadinstitute.org/BBBC051", layout="",
        citation="Woloshuk et al., In situ classification of cell types in human kidney tissue using 3D nuclear "
        "staining, Cytometry Part A 99(7), 707-721, 2021; Ljosa, Sokolnicki and Carpenter, Annotated high-throughput "
        "microscopy image sets for validation, Nature Methods 9, 637, 2012",
    ),
    md5={
        "2021:28": "ebe78ee8b05294063de985d821c1c34b",
        "2024:28": "ebe78ee8b05294063de985d821c1c34b",
        "2024:64": "123ece2eba09d0aa5d698fda57103344",
        "2024:128": "61b955355d7425a89687b06cca3ce0c2",
        "2024:224": "b077128c4a949f0a4eb01517f9037b9c",
    },
    notes=(
        OFFICIAL_ALONE, CONTAINER_OF_2021,
        "236,386 cells of three specimens, split 7:1:2; an image is the maximum over 7 slices of 32 x 32 pixels.",
        "MedMNIST gave the licence as CC BY 3.0 until April 2022, and as CC BY 4.0 since.",
    ),
))
