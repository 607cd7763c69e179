"""OrganMNIST, axial, coronal and sagittal: organs in abdominal CT from LiTS, by the boxes of Xu et al. 2019."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import Counts, Dataset, Source, Task

_CLASSES = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right",
    "pancreas", "spleen",
)
_SOURCE = Source(
    "LiTS with organ boxes", licence="CC BY 4.0 as MedMNIST says; LiTS: see its page",
    page="https://competitions.codalab.org/competitions/17094 (volumes); the boxes come with Xu et al. 2019",
    layout="volume-<n>.nii and test-volume-<n>.nii; annotations_on_LiTS/annotations_of_{training,testing}_set.zip",
    citation="Bilic et al., The liver tumor segmentation benchmark (LiTS), arXiv:1901.04056, 2019; Xu et al., "
    "Efficient multiple organ localization in CT image using 3D region proposal network, IEEE TMI 38(8), 2019",
    marks=("annotations_on_LiTS", "volume-0.nii"),
)
_NOTES = (
    "The slice rule gives all published counts of 2020; orientation, crop, window and round trip are not known, so no "
    "recipe is given.",
    "Since January 2024 the blank slices are left out (edition 2024).",
)


def _register(
    plane: str, flag: str, letter: str, counts_2020: Counts, counts_2024: Counts, md5: dict[str, str]
) -> Dataset:
    return register(Dataset(
        flag=flag, title=f"OrganMNIST_{plane.capitalize()}", modality="abdominal CT",
        task=Task.MULTICLASS, classes=_CLASSES, channels=1,
        counts={"2020": counts_2020, "2024": counts_2024}, source=_SOURCE, recipe=(),
        aliases=(f"organmnist_{plane}", f"organmnist_{letter}"), md5=md5, notes=_NOTES,
    ))


ORGAN_AXIAL = _register(
    "axial", "organamnist", "a", Counts(34581, 6491, 17778), Counts(34561, 6491, 17778),
    {
        "2020:28": "866b832ed4eeba67bfb9edee1d5544e6",
        "2024:28": "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "2024:64": "2dcccc29b88e6da5a01161ef20cda288",
        "2024:128": "eeae80d0a227a8d099027e1b3cfd3b60",
        "2024:224": "50747347e05c87dd3aaf92c49f9f3170",
    },
)
ORGAN_CORONAL = _register(
    "coronal", "organcmnist", "c", Counts(13000, 2392, 8268), Counts(12975, 2392, 8216),
    {
        "2020:28": "0afa5834fb105f7705a7d93372119a21",
        "2024:28": "b9ceb9546e10131b32923c5bbeaea2b1",
        "2024:64": "3ce34a8724ea6f548e6db4744d03b6a9",
        "2024:128": "773c1f009daa3fe5d9a2a201b2a7ed94",
        "2024:224": "050f5e875dc056f6768abf94ec9995d1",
    },
)
ORGAN_SAGITTAL = _register(
    "sagittal", "organsmnist", "s", Counts(13940, 2452, 8829), Counts(13932, 2452, 8827),
    {
        "2020:28": "e5c39f1af030238290b9557d9503af9d",
        "2024:28": "9ab87b696fb54e2a387ebe992d6ed5f1",
        "2024:64": "53a6d115339d874c25e309a994ff46d3",
        "2024:128": "ded0c5fa01a95dc4978b956f613e9b8e",
        "2024:224": "b354719e553fbbb2513d5533f52a4cb1",
    },
)
