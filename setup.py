"""The wheel's tag, which pyproject.toml cannot choose by interpreter: a free-threaded one has no stable ABI."""

import sysconfig

from setuptools import setup

STABLE_ABI = {"bdist_wheel": {"py_limited_api": "cp311"}}

setup(options={} if sysconfig.get_config_var("Py_GIL_DISABLED") else STABLE_ABI)
