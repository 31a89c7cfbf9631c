"""The graph of operations that a model runs, and the walk over it."""
