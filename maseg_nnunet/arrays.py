"""Names for the arrays that the package passes around. Rows always come first."""

from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]  # (rows, columns); the function says what the values mean, mostly VOI units
Pixels = npt.NDArray[Any]  # (rows, columns), stored values of any integer type, or float32 after a fractional rescale
Gray = npt.NDArray[np.uint8]  # (rows, columns), 0 black to 255 white
Mask = npt.NDArray[np.uint8]  # (rows, columns), values of `labels.Label`: 0 background, 1 breast, 2 pectoral muscle
Labels = npt.NDArray[Any]  # (rows, columns), the same values and `labels.IGNORE`, in the integer type that nnU-Net uses
Region = npt.NDArray[np.bool_]  # (rows, columns), True inside
Logits = npt.NDArray[np.float32]  # (classes, rows, columns), before the softmax
Indices = npt.NDArray[np.intp]  # row or column numbers
FloatArray = npt.NDArray[np.float64]  # any shape

Spacing = tuple[float, float]  # mm, (between rows, between columns)
GivenSpacing = float | Spacing | dict[str, float]  # mm; a dict has patterns of paths, as of `PurePath.match`
Shape = tuple[int, int]  # pixels, (rows, columns)
