"""Table 2 of the paper, the rows that ``isbi21`` at 28 px is held against: test AUC and ACC of each dataset."""

from __future__ import annotations

TABLE_2_28: dict[str, dict[str, tuple[float, float]]] = {
    "resnet18": {
        "pathmnist": (0.972, 0.844), "chestmnist": (0.706, 0.947), "dermamnist": (0.899, 0.721),
        "octmnist": (0.951, 0.758), "pneumoniamnist": (0.957, 0.843), "retinamnist": (0.727, 0.515),
        "breastmnist": (0.897, 0.859), "organamnist": (0.995, 0.921), "organcmnist": (0.990, 0.889),
        "organsmnist": (0.967, 0.762),
    },
    "resnet50": {
        "pathmnist": (0.979, 0.864), "chestmnist": (0.692, 0.947), "dermamnist": (0.886, 0.710),
        "octmnist": (0.939, 0.745), "pneumoniamnist": (0.949, 0.857), "retinamnist": (0.719, 0.490),
        "breastmnist": (0.879, 0.853), "organamnist": (0.995, 0.916), "organcmnist": (0.990, 0.893),
        "organsmnist": (0.968, 0.746),
    },
}
