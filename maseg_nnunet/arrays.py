"""The arrays that the package passes around, each with a name. Rows come first everywhere."""

from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]  # (rows, columns); what the values mean is said where it is used, mostly VOI units
Pixels = npt.NDArray[Any]  # (rows, columns), stored values as the file has them, of any integer type
Gray = npt.NDArray[np.uint8]  # (rows, columns), 0 black to 255 white
Mask = npt.NDArray[np.uint8]  # (rows, columns), the values of `labels`: 0 background, 1 breast, 2 pectoral muscle
Labels = npt.NDArray[Any]  # (rows, columns), the same values in whatever integer type nnU-Net hands over
Region = npt.NDArray[np.bool_]  # (rows, columns), True inside
Logits = npt.NDArray[np.float32]  # (classes, rows, columns), before the softmax
Indices = npt.NDArray[np.intp]  # row or column numbers
FloatArray = npt.NDArray[np.float64]  # any shape

Spacing = tuple[float, float]  # mm, (between rows, between columns)
Shape = tuple[int, int]  # pixels, (rows, columns)
