"""INbreast's annotations of the pectoral muscle: its open border as an OsiriX property list, in two dialects.

One is OsiriX's export of regions of interest (Images, ROIs, Point_px: strings "(x, y)"). The other is a single region
(ROIPoints: strings "{x, y}"). The points are pixels of the original image, x counts columns, and they run from the top
edge to the chest wall. Only the muscle is annotated, never the breast.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from maseg_nnunet.arrays import FloatArray, Region
from maseg_nnunet.errors import Reason, RefusedError

_KEYS: Final = ("Point_px", "ROIPoints")
_POINT = re.compile(r"[({]\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*,\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*[)}]", re.IGNORECASE)
_LIMIT: Final = 16 * 1024 * 1024
"""Bytes, far more than the largest published file has."""


def read_border(path: Path) -> FloatArray:
    """Read the border of the muscle.

    Returns:
        Points in the file's order, shape (n, 2), each (x, y) in pixels of the annotated image.

    Raises:
        RefusedError: The file is not such a property list (MASK_UNREADABLE).
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        if path.stat().st_size > _LIMIT:
            raise RefusedError(Reason.MASK_UNREADABLE, f"an annotation of more than {_LIMIT} bytes")
        root = fromstring(path.read_bytes())
    except (OSError, ParseError, DefusedXmlException, ValueError) as error:
        raise RefusedError(Reason.MASK_UNREADABLE, "not a readable XML property list") from error
    for dictionary in root.iter("dict"):
        children = list(dictionary)
        for key, value in pairwise(children):
            if key.tag == "key" and key.text in _KEYS and value.tag == "array":
                found = [_POINT.fullmatch((item.text or "").strip()) for item in value]
                if len(found) < 2 or not all(found):
                    raise RefusedError(Reason.MASK_UNREADABLE, f"{key.text} is not a list of two or more points")
                return np.array([[float(point[1]), float(point[2])] for point in found if point], dtype=np.float64)
    raise RefusedError(Reason.MASK_UNREADABLE, f"a property list without {' or '.join(_KEYS)}")


def muscle_of(border: FloatArray, shape: tuple[int, int], scale: tuple[float, float]) -> Region:
    """The muscle's region: between its border and the corner of the top edge and the chest wall.

    The chest wall is the side that the border's lowest point is nearer to.

    Args:
        border: Points as `read_border` returns them.
        shape: (rows, columns) of the result.
        scale: (row, column) pixels of `shape` per pixel of the annotated image.

    Returns:
        (rows, columns), True inside the muscle.
    """
    from skimage.draw import polygon2mask  # tests pixel centres; OpenCV's fillPoly fills every pixel it touches

    # Pixel centres are at whole numbers, as in OsiriX; scaling keeps the image's outer corner in place.
    points = (border + 0.5) * np.array(scale[::-1]) - 0.5
    points = points[::-1] if points[0, 1] > points[-1, 1] else points
    top, bottom = points[0], points[-1]
    wall = -0.5 if bottom[0] < shape[1] / 2 else shape[1] - 0.5
    outline = np.vstack([[wall, -0.5], [top[0], min(top[1], -0.5)], points, [wall, bottom[1]]])
    return np.asarray(polygon2mask(shape, outline[:, ::-1]), dtype=bool)
