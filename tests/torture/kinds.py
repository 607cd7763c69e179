"""Every kind of mutant by its name, ``section/kind``, and its share of them all."""

from __future__ import annotations

from tests.torture import files, own, stores
from tests.torture.mutants import Prepare

# name -> (share of all mutants, what makes them)
MUTANTS: dict[str, tuple[float, Prepare]] = {
    **{f"stores/bytes-{kind}": (0.08, stores.byte_mutants(kind)) for kind in stores.KINDS},
    **{f"stores/edits-{kind}": (0.06, stores.edit_mutants(kind)) for kind in stores.KINDS},
    "npz/bytes": (0.04, files.npz_mutants(False)),
    "npz/arrays": (0.01, files.npz_mutants(True)),
    **{f"images/{kind}": (0.014, files.image_mutants(kind)) for kind in files.IMAGES},
    **{f"own/{kind}": (0.012, own.own_mutants(kind)) for kind in own.KINDS},
    **{f"archives/{kind}": (0.012, files.archive_mutants(kind)) for kind in files.ARCHIVES},
    **{f"runs/{kind}": (0.006, files.run_mutants(kind)) for kind in files.RUN_FILES},
    "runs/result": (0.012, files.result_mutants()),
    "journals/bytes": (0.015, files.journal_mutants()),
}
