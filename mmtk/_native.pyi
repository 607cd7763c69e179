"""The C kernels; absent where no compiler was found. See ``src_ext``."""

import numpy as np
from numpy.typing import NDArray

paths: tuple[str, ...]

def gather(
    images: NDArray[np.uint8], rows: NDArray[np.int64], out: NDArray[np.uint8 | np.float32 | np.uint16], /
) -> None: ...
def jpeg_round_trip(images: NDArray[np.uint8], quality: int, /) -> None: ...
def unpack_strips(data: bytes, spans: NDArray[np.int64], step: int, dst: NDArray[np.uint8], /) -> tuple[int, int]: ...
def unfilter_grey(
    raw: bytes | bytearray | memoryview, dst: NDArray[np.uint8] | None, channels: int,
    rounded: NDArray[np.uint8] | None = None, /,
) -> None: ...

def zoom(
    path: str,
    src: NDArray[np.int16],
    dst: NDArray[np.int16],
    x_first: NDArray[np.int32], x_weights: NDArray[np.float64],
    y_first: NDArray[np.int32], y_weights: NDArray[np.float64],
    z_first: NDArray[np.int32], z_weights: NDArray[np.float64],
    /,
) -> bool: ...

def resize(
    path: str,
    src: NDArray[np.uint8],
    targets: tuple[
        tuple[
            NDArray[np.uint8],
            NDArray[np.int32] | None, NDArray[np.int32] | None,
            NDArray[np.int32] | None, NDArray[np.int32] | None,
        ],
        ...,
    ],
    /,
) -> None: ...
