"""The numbers printed in Verboom et al., J. Med. Imaging 11(1) 014001 (2024), which reports show beside ours.

Cells are in the order of the columns that `tables.py` builds. Nothing is computed from them. Two errors in the paper
matter here. The caption of Table 1 says that mini-MIAS has only CC images, but it has only MLO images (the counts of
Table 5 agree). The text says that INbreast has only MLO images, but it has both views.
"""

from __future__ import annotations

from typing import Final

Rows = dict[str, tuple[str, ...]]

REFERENCE: Final = "Verboom et al., J. Med. Imaging 11(1) 014001 (2024)"

_TABLE5: Rows = {
    "MLO": ("456", "0.96 ± 0.04", "0.83 ± 0.20 (451)", "0.94 ± 0.07"),
    "CC": ("356", "0.98 ± 0.02", "0.50 ± 0.35 (93)", "0.98 ± 0.02"),
    "All": ("812", "0.97 ± 0.03", "0.78 ± 0.26 (544)", "0.96 ± 0.06"),
}

_TABLE6: Rows = {
    "MLO": ("456", "98.9% (451/456)", "21.1% ± 13.6%", "0.0% (0/451)", "100.0% (5/5)"),
    "CC": ("356", "26.1% (93/356)", "4.1% ± 3.2%", "26.9% (25/93)", "44.5% (117/263)"),
}

_SECTION31: Rows = {"CC": ("0.68 ± 0.21 (68)", "10.6% (28/263)")}

_TABLE7: Rows = {
    "Hologic": ("100", "0.98 ± 0.01", "0.81 ± 0.30 (68)", "0.98 ± 0.02"),
    "IMS Giotto": ("102", "0.98 ± 0.02", "0.79 ± 0.31 (64)", "0.97 ± 0.04"),
    "Fuji": ("100", "0.98 ± 0.02", "0.87 ± 0.17 (58)", "0.98 ± 0.03"),
    "GE": ("100", "0.97 ± 0.02", "0.81 ± 0.29 (65)", "0.97 ± 0.03"),
    "INbreast": ("106", "0.99 ± 0.01", "0.81 ± 0.24 (57)", "0.98 ± 0.02"),
    "Mini-MIAS": ("100", "0.91 ± 0.05", "0.55 ± 0.15 (97)", "0.86 ± 0.09"),
    "Siemens": ("104", "0.97 ± 0.02", "0.83 ± 0.22 (76)", "0.96 ± 0.03"),
    "PlanMed": ("100", "0.97 ± 0.02", "0.87 ± 0.21 (59)", "0.97 ± 0.05"),
    "All": ("812", "0.97 ± 0.03", "0.78 ± 0.26 (544)", "0.96 ± 0.06"),
    "All DM": ("712", "0.98 ± 0.02", "0.83 ± 0.26 (447)", "0.97 ± 0.03"),
}

_TABLE8: Rows = {
    "Hologic": ("100", "0.98 ± 0.02", "0.46 ± 0.14", "0.97 ± 0.03", "0.95 ± 0.04"),
    "IMS Giotto": ("102", "0.97 ± 0.04", "0.59 ± 0.27", "0.96 ± 0.05", "0.95 ± 0.07"),
    "Fuji": ("100", "0.98 ± 0.03", "", "0.97 ± 0.03", ""),
    "GE": ("100", "0.97 ± 0.03", "0.90 ± 0.08", "0.96 ± 0.04", "0.96 ± 0.03"),
    "INbreast": ("106", "0.98 ± 0.02", "", "0.96 ± 0.04", ""),
    "Mini-MIAS": ("100", "0.86 ± 0.09", "", "0.90 ± 0.08", ""),
    "Siemens": ("104", "0.96 ± 0.03", "0.76 ± 0.21", "0.96 ± 0.05", "0.96 ± 0.04"),
    "PlanMed": ("100", "0.97 ± 0.05", "", "0.96 ± 0.06", ""),
    "All": ("812", "0.96 ± 0.06", "", "0.95 ± 0.05", ""),
    "Datasets containing processed and raw": ("406", "0.97 ± 0.03", "0.68 ± 0.25", "0.96 ± 0.04", "0.95 ± 0.05"),
}

_TABLE9: Rows = {
    "Hologic": ("2284", "0.95 ± 0.07", "712", "0.95 ± 0.03", "932", "+0.00", "0.202"),
    "IMS Giotto": ("2478", "0.95 ± 0.07", "710", "0.88 ± 0.15", "740", "−0.07*", "<0.001"),
    "Fuji": ("2540", "0.94 ± 0.07", "712", "0.97 ± 0.03", "676", "+0.02*", "<0.001"),
    "GE": ("2576", "0.94 ± 0.07", "712", "0.89 ± 0.10", "640", "−0.04*", "<0.001"),
    "INbreast": ("2892", "0.95 ± 0.06", "706", "0.95 ± 0.07", "330", "+0.00", "0.701"),
    "Mini-MIAS": ("2974", "0.97 ± 0.05", "712", "0.74 ± 0.13", "242", "−0.23*", "<0.001"),
    "Siemens": ("3036", "0.96 ± 0.05", "708", "0.97 ± 0.04", "184", "+0.01*", "<0.001"),
    "PlanMed": ("3032", "0.94 ± 0.07", "712", "0.97 ± 0.04", "184", "+0.02*", "<0.001"),
}

TABLES: Final[dict[str, Rows]] = {
    "table5": _TABLE5,
    "table6": _TABLE6,
    "section31": _SECTION31,
    "table7": _TABLE7,
    "table8": _TABLE8,
    "table9": _TABLE9,
}
"""Key of a table to its rows; name of a row to its cells."""

TESTS: Final = {
    ("MLO – CC", "overall"): "<0.001",
    ("MLO – CC", "breast"): "<0.001",
    ("MLO – CC", "pectoral"): "<0.001",
    ("All datasets", "overall"): "<0.001",
    ("Hologic – Mini-MIAS", "overall"): "<0.001",
    ("IMS Giotto – Mini-MIAS", "overall"): "<0.001",
    ("Fuji – Mini-MIAS", "overall"): "<0.001",
    ("GE – Mini-MIAS", "overall"): "<0.001",
    ("INbreast – Mini-MIAS", "overall"): "<0.001",
    ("Mini-MIAS – Siemens", "overall"): "<0.001",
    ("Mini-MIAS – PlanMed", "overall"): "<0.001",
    ("INbreast – Siemens", "overall"): "0.017",
    ("processed images", "overall"): "0.11",
    ("raw images", "overall"): "<0.001",
}
"""(comparison, score) to the p-value that sections 3.1 and 3.2 print."""
