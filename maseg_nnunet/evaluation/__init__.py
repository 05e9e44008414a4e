"""Evaluation: metrics, tables, statistics, report."""
