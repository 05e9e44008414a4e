from __future__ import annotations

from pathlib import Path

from maseg_nnunet.dataset_conversion.journal import JOURNAL, ConversionJournal
from maseg_nnunet.dataset_conversion.scan import Rejected
from maseg_nnunet.errors import Reason

LOST = Rejected(3, Reason.TRUNCATED, "pixel data end early", "case")


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    with ConversionJournal(tmp_path) as journal:
        journal.add("a", LOST)
    assert ConversionJournal(tmp_path).outcomes == {"a": LOST}


def test_a_line_cut_off_by_a_kill_costs_that_line_alone(tmp_path: Path) -> None:
    with ConversionJournal(tmp_path) as journal:
        journal.add("a", LOST)
        journal.add("b", LOST)
    file = tmp_path / JOURNAL
    file.write_bytes(file.read_bytes()[:-10])
    with ConversionJournal(tmp_path) as journal:
        assert set(journal.outcomes) == {"a"}
        journal.add("c", LOST)
    assert set(ConversionJournal(tmp_path).outcomes) == {"a", "c"}


def test_kept_entries_are_sorted_and_the_others_gone(tmp_path: Path) -> None:
    with ConversionJournal(tmp_path) as journal:
        for signature in "cab":
            journal.add(signature, LOST)
    journal.keep({"c", "a"})
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert [line[:17] for line in lines] == ['{"signature": "a"', '{"signature": "c"']


def test_a_line_that_is_not_utf8_costs_that_line_alone(tmp_path: Path) -> None:
    with ConversionJournal(tmp_path) as journal:
        for signature in "abc":
            journal.add(signature, LOST)
    file = tmp_path / JOURNAL
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = b"\xff\xfe" + lines[1]
    file.write_bytes(b"".join(lines))
    assert set(ConversionJournal(tmp_path).outcomes) == {"a", "c"}
