"""RetinaMNIST: fundus photographs from DeepDRiD (2020). JPEGs by patient, graded 0 to 4 for diabetic retinopathy."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import CenterCrop, Colour, Counts, Dataset, Resize, RoundTrip, Source, Task

RETINA = register(Dataset(
    flag="retinamnist", title="RetinaMNIST", modality="fundus camera",
    task=Task.ORDINAL, classes=("0", "1", "2", "3", "4"), channels=3,
    counts={"2020": Counts(1080, 120, 400), "2024": Counts(1080, 120, 400)},
    source=Source(
        "DeepDRiD", licence="CC BY-SA 4.0", page="https://github.com/deepdrdoc/DeepDRiD",
        layout="regular_fundus_images/regular-fundus-{training,validation}/Images/<patient>/<patient>_<eye><n>.jpg",
        citation="Liu et al., DeepDRiD: Diabetic retinopathy, grading and image quality estimation challenge, "
        "Patterns 3(6), 100512, 2022",
        marks=("regular_fundus_images", "regular-fundus-training", "regular-fundus-validation"),
    ),
    recipe=(Colour(), CenterCrop(), Resize("bilinear"), RoundTrip("jpeg", 75)),
    md5={
        "2020:28": "bd4c0672f1bba3e3a89f0e4e876791e4",
        "2024:28": "bd4c0672f1bba3e3a89f0e4e876791e4",
        "2024:64": "afda852cc34dcda56f86ad2b2457dbcc",
        "2024:128": "e48e916a24454daf90583d4e6efb1a18",
        "2024:224": "eae7e3b6f3fcbda4ae613ebdcbe35348",
    },
    notes=(
        "The training part is cut 9:1 into train and val, by eye or by patient; the validation part is test.",
        "Always answering the commonest grade gives ACC 0.435. Sizes other than 28 are unverified.",
    ),
))
