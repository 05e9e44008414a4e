"""Chains of commands: the paper's experiments, its loss sweep, and the demo."""
