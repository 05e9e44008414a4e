import pytest

from maseg_nnunet.readers.vendors import UNKNOWN, VENDORS, Vendor, recognise


@pytest.mark.parametrize(
    ("manufacturer", "model", "key"),
    [
        ("HOLOGIC, Inc.", "Lorad Selenia", "hologic"),
        ("Hologic Inc", "", "hologic"),
        ("LORAD", "", "hologic"),
        ("LORAD, A Hologic Company", "Lorad Selenia", "hologic"),
        ("I.M.S. srl", "GIOTTO IMAGE 3DL", "ims_giotto"),
        ("IMS s.r.l.", "Giotto Class", "ims_giotto"),
        ("IMS GIOTTO S.p.A.", "", "ims_giotto"),
        ("FUJIFILM Corporation", "FDR-3000AWS", "fuji"),
        ("FUJI PHOTO FILM Co. ltd.", "CR", "fuji"),
        ("GE MEDICAL SYSTEMS", "Senographe Essential", "ge"),
        ("GE HEALTHCARE", "Senographe Pristina", "ge"),
        ("GE", "", "ge"),
        ("SIEMENS", "Mammomat Inspiration", "siemens"),
        ("Siemens Healthineers", "MAMMOMAT Revelation", "siemens"),
        ("Planmed Oy", "Planmed Nuance", "planmed"),
        # no Manufacturer, or one that is not in the table: the model decides
        ("", "Mammomat Inspiration", "siemens"),
        ("", "Senographe DS VERSION ADS_43", "ge"),
        ("An Archive Ltd", "Lorad Selenia", "hologic"),
        # a workstation's name in the model does not outweigh the maker
        ("SIEMENS", "Senographe", "siemens"),
        ("", "", UNKNOWN),
        ("Philips Digital Mammography Sweden AB", "L30", UNKNOWN),
        ("GENORAY", "", UNKNOWN),
        ("AGFA", "IMSTRONG", UNKNOWN),
        ("PRIMS", "", UNKNOWN),
    ],
)
def test_who_made_it(manufacturer: str, model: str, key: str) -> None:
    assert recognise(manufacturer, model) == key
    assert key == UNKNOWN or key in VENDORS


def test_ge_alone_leaves_its_sigmoid_unsaid() -> None:
    assert [key for key, vendor in VENDORS.items() if vendor.assumes_sigmoid] == ["ge"]


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_the_row_says_what_the_code_does(vendor: Vendor) -> None:
    for name in vendor.names:
        assert vendor.key in (recognise(name, ""), recognise("", name))
    assert vendor.unsaid.endswith(".")
    assert ("is SIGMOID" in vendor.unsaid) == vendor.assumes_sigmoid
