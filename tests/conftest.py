"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# the workers of a run share the cores: threads of torch that wait for each other in each of them would stall them all
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SHARED_MACHINE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile("mmtk", deadline=None, suppress_health_check=_SHARED_MACHINE)
settings.register_profile("thorough", settings.get_profile("mmtk"), max_examples=2000)
settings.load_profile("mmtk")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real sample files: ``MMTK_TEST_DATA``, by default ``../shared/data`` beside the checkout."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("MMTK_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"the real sample files are not here ({folder.name} is no folder); set MMTK_TEST_DATA")
    return folder


@pytest.fixture(params=["vnni", "avx2", "neon", "plain", "numba"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Force one kernel; those in C may be missing where no compiler was found or the machine lacks the instructions.

    ``numba`` stands for no C at all, which leaves a zoom to scipy.
    """
    from mmtk.imaging import kernels_in_use

    if request.param != "numba" and request.param not in pytest.importorskip("mmtk._native").paths:
        pytest.skip(f"this machine has no {request.param}")
    monkeypatch.setenv("MMTK_KERNELS", request.param)
    assert kernels_in_use() == request.param
    return str(request.param)


@pytest.fixture(scope="module")
def thin_models() -> Iterator[None]:
    """Make every model in a module's tests a thin one, except in tests that take `resnets`."""
    pytest.importorskip("torch", reason="torch is not installed")
    from tests.thin import use_thin_models

    with pytest.MonkeyPatch.context() as patch:
        use_thin_models(patch)
        yield


@pytest.fixture
def resnets(thin_models: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make models torchvision's again for one test."""
    from mmtk.training import models
    from tests.thin import TORCHVISION

    monkeypatch.setattr(models, "torchvision_models", TORCHVISION)
