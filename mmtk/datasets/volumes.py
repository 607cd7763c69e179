"""The six volume datasets that MedMNIST added in 2021: grey cubes of 28 and 64 voxels per side."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import CONTAINER_OF_2021, OFFICIAL_ALONE, Counts, Dataset, Source, Task

_MEDMNIST = (
    "Yang et al., MedMNIST v2 - a large-scale lightweight benchmark for 2D and 3D biomedical image classification, "
    "Scientific Data 10, 41, 2023"
)
_LICENCE = "CC BY 4.0"  # of MedMNIST's files; a note says if it was different before April 2022
_CONTAINER_OF_2022 = (
    "The container of its .npz of April 2022 is assumed to be that of 2021: no official file was examined."
)


def _until_2022(licence: str) -> str:
    return f"MedMNIST gave the licence as {licence} until April 2022, and as {_LICENCE} since."


ORGAN_3D = register(Dataset(
    flag="organmnist3d", title="OrganMNIST3D", modality="abdominal CT", task=Task.MULTICLASS,
    classes=(
        "liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder", "heart", "lung-right",
        "lung-left", "spleen", "pancreas",
    ),
    channels=1, ndim=3,
    counts={"2021": Counts(972, 161, 610), "2024": Counts(971, 161, 610)},
    source=Source(
        "LiTS with organ boxes", licence=_LICENCE, page="https://competitions.codalab.org/competitions/17094",
        layout="",
        citation="Bilic et al., The liver tumor segmentation benchmark (LiTS), arXiv:1901.04056, 2019; Xu et al., "
        "Efficient multiple organ localization in CT image using 3D region proposal network, IEEE TMI 38(8), 2019",
    ),
    md5={
        "2021:28": "21f0a239e7f502e6eca33c3fc453c0b6",
        "2024:28": "a0c5a1ff56af4f155c46d46fbb45a2fe",
        "2024:64": "58a2205adf14a9d0a189cb06dc78bf10",
    },
    notes=(
        OFFICIAL_ALONE, CONTAINER_OF_2021,
        "Volumes and organs are those of the Organ datasets of slices; the classes are in another order.",
        "Since January 2024 one blank volume in train is left out.",
    ),
))

NODULE_3D = register(Dataset(
    flag="nodulemnist3d", title="NoduleMNIST3D", modality="chest CT", task=Task.BINARY,
    classes=("benign", "malignant"), channels=1, ndim=3,
    counts={"2021": Counts(1158, 165, 526), "2022": Counts(1158, 165, 310), "2024": Counts(1158, 165, 310)},
    source=Source(
        "LIDC-IDRI", licence=_LICENCE, page="https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX", layout="",
        citation="Armato et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative "
        "(IDRI): a completed reference database of lung nodules on CT scans, Medical Physics 38(2), 915-931, 2011",
    ),
    md5={
        "2021:28": "902d495e3d91ad1a7bcac1a6b58a8fa2",
        "2022:28": "8755a7e9e05a4d9ce80a24c3e7a256f3",
        "2024:28": "8755a7e9e05a4d9ce80a24c3e7a256f3",
        "2024:64": "c47c5b7d457bf6332200d2ea6d64ecd8",
    },
    notes=(
        OFFICIAL_ALONE, CONTAINER_OF_2021, _CONTAINER_OF_2022,
        "A malignancy rating of 1 or 2 is benign, 4 or 5 malignant; nodules rated 3 are left out.",
        "The file of April 2022 has 216 volumes fewer in test than that of 2021.",
        _until_2022("CC BY 3.0"),
    ),
))

ADRENAL_3D = register(Dataset(
    flag="adrenalmnist3d", title="AdrenalMNIST3D", modality="shapes from abdominal CT", task=Task.BINARY,
    classes=("normal", "hyperplasia"), channels=1, ndim=3,
    counts={"2021": Counts(1188, 98, 298), "2024": Counts(1188, 98, 298)},
    source=Source(
        "adrenal glands of Zhongshan Hospital, Fudan University", licence=_LICENCE, page="https://medmnist.com",
        layout="", citation=_MEDMNIST,
    ),
    md5={
        "2021:28": "bbd3c5a5576322bc4cdfea780653b1ce",
        "2024:28": "bbd3c5a5576322bc4cdfea780653b1ce",
        "2024:64": "17721accfe9fb005146a47d33bc54b2f",
    },
    notes=(
        OFFICIAL_ALONE, CONTAINER_OF_2021,
        "Shapes of 1,584 glands, split by patient; the CT scans in which they were segmented are not published.",
    ),
))

FRACTURE_3D = register(Dataset(
    flag="fracturemnist3d", title="FractureMNIST3D", modality="chest CT", task=Task.MULTICLASS,
    classes=("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"), channels=1, ndim=3,
    counts={"2021": Counts(1027, 103, 240), "2024": Counts(1027, 103, 240)},
    source=Source(
        "RibFrac", licence=_LICENCE, page="https://ribfrac.grand-challenge.org", layout="",
        citation="Jin et al., Deep-learning-assisted detection and segmentation of rib fractures from CT scans: "
        "development and validation of FracNet, EBioMedicine 62, 103106, 2020",
    ),
    md5={
        "2021:28": "6aa7b0143a6b42da40027a9dda61302f",
        "2024:28": "6aa7b0143a6b42da40027a9dda61302f",
        "2024:64": "f01d7e6316aedf4210da0da5b7437b42",
    },
    notes=(
        OFFICIAL_ALONE, CONTAINER_OF_2021, "The split is the source's own; segmental fractures are left out.",
        _until_2022("CC BY-NC 4.0"),
    ),
))

VESSEL_3D = register(Dataset(
    flag="vesselmnist3d", title="VesselMNIST3D", modality="shapes from brain MRA", task=Task.BINARY,
    classes=("vessel", "aneurysm"), channels=1, ndim=3,
    counts={"2021": Counts(1335, 192, 382), "2024": Counts(1335, 191, 382)},
    source=Source(
        "IntrA", licence=_LICENCE, page="https://github.com/intra3d2019/IntrA", layout="",
        citation="Yang et al., IntrA: 3D intracranial aneurysm dataset for deep learning, CVPR 2020, 2656-2666",
    ),
    md5={
        "2021:28": "2ba5b80617d705141f3f85627108fce8",
        "2024:28": "b41fd4f7e7e2feedddb201585ecafa1b",
        "2024:64": "6bb274a8846e1097066dcd64e2c4520f",
    },
    notes=(
        OFFICIAL_ALONE, CONTAINER_OF_2021, "Meshes of vessel segments, voxelised and split 7:1:2.",
        "Since January 2024 one blank volume in val is left out.",
        _until_2022("CC0 1.0"),
    ),
))

SYNAPSE_3D = register(Dataset(
    flag="synapsemnist3d", title="SynapseMNIST3D", modality="electron microscopy", task=Task.BINARY,
    classes=("inhibitory synapse", "excitatory synapse"), channels=1, ndim=3,
    counts={"2021": Counts(1230, 177, 352), "2024": Counts(1230, 177, 352)},
    source=Source(
        "synapses of one neuron of a rat, in the tissue of MitoEM", licence=_LICENCE, page="https://medmnist.com",
        layout="",
        citation=f"{_MEDMNIST}; Wei et al., MitoEM dataset: large-scale 3D mitochondria instance segmentation from EM "
        "images, MICCAI 2020",
    ),
    md5={
        "2021:28": "1235b78a3cd6280881dd7850a78eadb6",
        "2024:28": "1235b78a3cd6280881dd7850a78eadb6",
        "2024:64": "43bd14ebf3af9d3dd072446fedc14d5e",
    },
    notes=(OFFICIAL_ALONE, CONTAINER_OF_2021, "Split 7:1:2; all synapses are on one pyramidal neuron."),
))
