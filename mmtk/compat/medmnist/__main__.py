"""Two commands: ``python -m mmtk.compat.medmnist`` runs programs, ``python -m medmnist`` within them is medmnist's."""

from __future__ import annotations

import sys

from mmtk.compat.medmnist._running import PACKAGE, flags_before, run

if __name__ == "__main__" and __spec__ is not None and __spec__.parent == PACKAGE:
    run(flags_before(sys.argv[1:]), sys.argv[1:])

from mmtk.compat.medmnist._commands import available, clean, download, evaluate, info, main, save, test

__all__ = ["available", "clean", "download", "evaluate", "info", "save", "test"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
