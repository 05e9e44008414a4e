"""The table of comparisons in the report."""

from maseg_nnunet.evaluation.significance import compare_views
from maseg_nnunet.evaluation.significance_tables import statistics_table


def test_the_papers_p_is_shown_beside_ours(views):
    table = statistics_table(compare_views(views))
    assert table.frame["p, paper"].tolist() == ["<0.001", "<0.001"]
    assert table.frame["95% CI by woman"][0].count("−") == 2
