"""Evaluation: scores of predicted masks, tables, statistical tests and the HTML report."""
