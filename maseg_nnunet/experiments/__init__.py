"""Chains of commands: the paper's three experiments, its loss sweep, and the demo."""
