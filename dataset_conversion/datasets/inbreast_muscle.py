"""INbreast's annotations of the pectoral muscle: its open border as an OsiriX property list, in two dialects.

One is OsiriX's export of regions of interest (Images, ROIs, Point_px: strings "(x, y)"), the other a region alone
(ROIPoints: strings "{x, y}"). The points are pixels of the original image, x along columns, from the top edge to the
chest wall. Only the muscle is annotated, never the breast.
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
"""Bytes: the largest published file is a tenth of this."""


def read_border(path: Path) -> FloatArray:
    """The border's points, shape (n, 2), as (x, y) in pixels of the annotated image, in the file's order.

    Raises RefusedError (MASK_UNREADABLE) on a file that is no such list.
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
                    raise RefusedError(Reason.MASK_UNREADABLE, f"{key.text} does not hold two or more points")
                return np.array([[float(point[1]), float(point[2])] for point in found if point], dtype=np.float64)
    raise RefusedError(Reason.MASK_UNREADABLE, f"a property list without {' or '.join(_KEYS)}")


def muscle_of(border: FloatArray, shape: tuple[int, int], scale: tuple[float, float]) -> Region:
    """The muscle, bool (rows, columns) of `shape`: between the border and the corner of top edge and chest wall.

    `scale` is (row, column) pixels of `shape` per pixel of the annotated image. The chest wall is the side that the
    border's lowest point lies nearer to.
    """
    from skimage.draw import polygon2mask  # tests pixel centres; OpenCV's fillPoly paints every pixel that it touches

    # Pixel centres are whole numbers, as OsiriX has them; scaling keeps the image's outer corner in place.
    points = (border + 0.5) * np.array(scale[::-1]) - 0.5
    points = points[::-1] if points[0, 1] > points[-1, 1] else points
    top, bottom = points[0], points[-1]
    wall = -0.5 if bottom[0] < shape[1] / 2 else shape[1] - 0.5
    outline = np.vstack([[wall, -0.5], [top[0], min(top[1], -0.5)], points, [wall, bottom[1]]])
    return np.asarray(polygon2mask(shape, outline[:, ::-1]), dtype=bool)
