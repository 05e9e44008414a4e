"""Silence for pydicom: its warnings and log lines quote values of headers, names and birth dates among them."""

from __future__ import annotations

import logging
import warnings
from typing import Final

_MODULES: Final = r"pydicom(\.|$)"


def silence_pydicom() -> None:
    """Keep pydicom's warnings and log lines off every stream of this process, from now on.

    The filter is added where it is missing and never taken away: restoring it (`warnings.catch_warnings`) would race
    with other threads that read at the same time.
    """
    # The filters that Python starts with name modules as text, not as patterns.
    if not any(getattr(module, "pattern", "") == _MODULES for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_MODULES)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
