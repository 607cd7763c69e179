"""Stores: one HDF5 file per dataset and size, read as memory-mapped arrays. FORMAT.md is the specification."""

from mmtk.datasets.base import SPLITS
from mmtk.store._chunks import CACHE_BYTES, COMPRESSIONS, ChunkedImages, Images
from mmtk.store._compress import compress
from mmtk.store._fetch import fetch_file, fetch_npz
from mmtk.store._format import StoreInfo, record_dtype, store_path, stores_in
from mmtk.store._import import import_npz
from mmtk.store._montage import draw_montage
from mmtk.store._npz import LARGEST_SIZE, export_npz, flag_named, read_npy_header, read_npz
from mmtk.store._official import Comparison, SplitComparison, compare_official
from mmtk.store._png import export_png
from mmtk.store._published import refuse_other_edition
from mmtk.store._reader import Split, Store, already_there, open
from mmtk.store._steady import write_at
from mmtk.store._unlabelled import with_labels, without_labels
from mmtk.store._verify import expect_whole, verify
from mmtk.store._vertex import NONE_OF_THE_ABOVE, export_vertex
from mmtk.store._writer import (
    Layout,
    blocks,
    create_skeleton,
    finalize,
    read_exactly,
    read_layout,
    write_store,
)

__all__ = [
    "CACHE_BYTES", "COMPRESSIONS", "LARGEST_SIZE", "NONE_OF_THE_ABOVE", "SPLITS", "ChunkedImages", "Comparison",
    "Images", "Layout", "Split", "SplitComparison", "Store", "StoreInfo", "already_there", "blocks", "compare_official",
    "compress", "create_skeleton", "draw_montage", "expect_whole", "export_npz", "export_png", "export_vertex",
    "fetch_file", "fetch_npz", "finalize", "flag_named", "import_npz", "open", "read_exactly", "read_layout",
    "read_npy_header", "read_npz", "record_dtype", "refuse_other_edition", "store_path", "stores_in", "verify",
    "with_labels", "without_labels", "write_at", "write_store",
]
