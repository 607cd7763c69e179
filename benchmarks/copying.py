"""The least that copying rows can cost: a C loop of memcpy that fetches each row some rows before it is copied."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SOURCE = r"""
#include <stdint.h>
#include <string.h>
void copy(const char *images, const int64_t *rows, int64_t count, int64_t width, char *out)
{
    for (int64_t i = 0; i < count; i++) {
        if (i + 8 < count)
            for (int64_t at = 0; at < width; at += 64)
                __builtin_prefetch(images + rows[i + 8] * width + at);
        memcpy(out + i * width, images + rows[i] * width, (size_t)width);
    }
}
"""


def compile_copy(folder: Path) -> Any:
    """The function ``copy(images, rows, count, width, out)``, of addresses and numbers."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = folder / "copy.c"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-O3", "-shared", "-fPIC", "-o", source.with_suffix(".so"), source], check=True)
    function = ctypes.CDLL(str(source.with_suffix(".so"))).copy
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return function
