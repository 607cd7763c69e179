"""ChestMNIST: chest X-rays from NIH's ChestX-ray14 (Wang et al. 2017). PNGs, 14 findings a patient may have at once."""

from __future__ import annotations

from mmtk.datasets import register
from mmtk.datasets.base import Counts, Dataset, Grey, Resize, Source, Task

CHEST = register(Dataset(
    flag="chestmnist", title="ChestMNIST", modality="chest X-ray",
    task=Task.MULTILABEL,
    classes=(
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia",
    ),
    channels=1,
    counts={"2020": Counts(78468, 11219, 22433), "2024": Counts(78468, 11219, 22433)},
    source=Source(
        "NIH ChestX-ray14", licence="free with acknowledgement of NIH and the citation",
        page="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        layout="images/<patient>_<number>.png and the CheXNet lists",
        citation="Wang et al., ChestX-ray8: Hospital-scale chest X-ray database and benchmarks, CVPR 2017, 3462-3471",
        marks=("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "images/00000001_000.png"),
    ),
    recipe=(Grey(), Resize("bilinear")),
    md5={
        "2020:28": "02c8a6516a18b556561a56cbdd36c4a8",
        "2024:28": "02c8a6516a18b556561a56cbdd36c4a8",
        "2024:64": "9de6cd0b934ebb5b7426cfba5efbae16",
        "2024:128": "db107e5590b27930b62dbaf558aebee3",
        "2024:224": "45bd33e6f06c3e8cdb481c74a89152aa",
    },
    notes=(
        "The split is the patient-disjoint 70/10/20 lists of CheXNet with their labels, not NIH's own; the CSV of 2020 "
        "differs in 181 images.",
        "Always answering 'nothing found' gives ACC 0.947.",
        "The recipe is inferred, for 519 RGBA files too. Sizes other than 28 are unverified.",
    ),
))
