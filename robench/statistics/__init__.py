"""Rates over records: curves, intervals, summaries, budgets, and signs of nonsense."""
