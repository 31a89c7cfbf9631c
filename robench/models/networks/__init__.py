"""Copies of a torch module: evaluated, plain, and widened to float64."""
