"""Synthetic raw files in the providers' layouts, formats, sizes and quirks, with classes that a network can learn."""

from mmtk.phantom._writer import PHANTOMS, expect_drawn, write_phantom

__all__ = ["PHANTOMS", "expect_drawn", "write_phantom"]
