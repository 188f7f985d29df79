"""Evaluation: seeded episodes in many environments at once, controls, films and the report."""
