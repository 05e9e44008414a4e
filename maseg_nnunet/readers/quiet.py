"""Silence pydicom, whose warnings and log lines quote values of headers, among them names and birth dates."""

from __future__ import annotations

import logging
import warnings
from typing import Final

_MODULES: Final = r"pydicom(\.|$)"


def silence_pydicom() -> None:
    """Suppress pydicom's warnings and log lines in this process, from now on.

    The filter is added once and never removed: `warnings.catch_warnings` would race with other threads that read at the
    same time.
    """
    # The filters that Python starts with have modules as text, not as patterns.
    if not any(getattr(module, "pattern", "") == _MODULES for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_MODULES)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
