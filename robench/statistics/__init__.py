"""Rates over records: curves, intervals, summaries, budgets, and signs that a model knows nothing."""
