"""Moonfleet's component for a Moonraker that pip installed: loads it from its repository.

A lone directory link among Moonraker's components does not survive `pip install -U moonraker`,
a file does. install.sh writes this file there with the repository's folder in PACKAGE_DIR; it
must know nothing else of Moonfleet.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

PACKAGE_DIR = "@PACKAGE_DIR@"
PACKAGE_NAME = "moonfleet_component"


def _load_package() -> ModuleType:
    """Return the package in PACKAGE_DIR, imported once as PACKAGE_NAME."""
    if PACKAGE_NAME in sys.modules:
        return sys.modules[PACKAGE_NAME]
    source = os.path.join(PACKAGE_DIR, "__init__.py")
    if not os.path.isfile(source):
        # Not an ImportError: Moonraker would answer that by reinstalling its requirements.
        raise RuntimeError(
            "Moonfleet is not at " + PACKAGE_DIR + " any more: run `./install.sh host` where it is"
        )
    spec = importlib.util.spec_from_file_location(
        PACKAGE_NAME, source, submodule_search_locations=[PACKAGE_DIR]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError("Python cannot load " + source)
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE_NAME] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[PACKAGE_NAME]
        raise
    return package


def load_component(config: Any) -> Any:
    """Hand Moonraker's configuration section to the package (Moonraker's own entry point)."""
    return _load_package().load_component(config)
