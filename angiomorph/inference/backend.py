"""OpenVINO, imported so that it reports nothing to its makers.

    from angiomorph.inference.backend import openvino, ops

OpenVINO's converter of models sends word of each import over the network. It is not needed here, and OpenVINO goes on where it
cannot be imported. This module alone imports OpenVINO.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["openvino", "ops"]

REPORTS = "openvino.tools.ovc"


def _import_openvino() -> tuple[Any, Any]:
    """Import and return OpenVINO and its operations."""
    sys.modules.setdefault(REPORTS, None)  # type: ignore[arg-type]  # Python's way to make an import fail
    try:
        return importlib.import_module("openvino"), importlib.import_module("openvino.opset13")
    finally:
        if sys.modules[REPORTS] is None:
            del sys.modules[REPORTS]


openvino, ops = _import_openvino()
