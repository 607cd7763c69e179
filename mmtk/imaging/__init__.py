"""Image and volume operations: decode, crop, resize, window, JPEG round trip. Heavy imports happen on first use."""

from mmtk.imaging._apart import voxels_apart
from mmtk.imaging._axes import PLANES, Grid, Volume, VolumeHeader, cut_plane, turn_box, turn_volume
from mmtk.imaging._boxes import boxes_of
from mmtk.imaging._crop import Box, center_box, center_crop
from mmtk.imaging._dicom import dicom_subject
from mmtk.imaging._facts import DicomFacts, probe_dicom
from mmtk.imaging._files import MAX_SIDE, MIN_SIDE, ImageFile
from mmtk.imaging._headers import Header, probe
from mmtk.imaging._jpeg import round_trip, round_trip_stack
from mmtk.imaging._reader import read_image, read_kinds
from mmtk.imaging._resizer import FILTERS, kernels_in_use, resize, resize_each
from mmtk.imaging._series import probe_series, read_series
from mmtk.imaging._values import Values, probe_page, probe_values, read_values
from mmtk.imaging._volume import probe_volume, read_mask, read_volume
from mmtk.imaging._window import hu_window, percentile_window
from mmtk.imaging._zoom import zoom

__all__ = [
    "FILTERS", "MAX_SIDE", "MIN_SIDE", "PLANES", "Box", "DicomFacts", "Grid", "Header", "ImageFile", "Values", "Volume",
    "VolumeHeader", "boxes_of", "center_box", "center_crop", "cut_plane", "dicom_subject", "hu_window",
    "kernels_in_use", "percentile_window", "probe", "probe_dicom", "probe_page", "probe_series", "probe_values",
    "probe_volume", "read_image", "read_kinds", "read_mask", "read_series", "read_values", "read_volume", "resize",
    "resize_each", "round_trip", "round_trip_stack", "turn_box", "turn_volume", "voxels_apart", "zoom",
]
