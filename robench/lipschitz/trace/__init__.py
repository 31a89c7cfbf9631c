"""From a run of a model to signals that depend on each other.

`walk` goes through a model. A layer that has a rule is bounded by it; any other module is run once by the `Recorder`,
and its graph is walked operation by operation (`graph.py`). For each operation the `Trace` looks up a rule in the
`Rulebook`, gives it a `Call`, and gets a `View` of the `Signal` that the rule had the trace build. The last view knows
the bound of the whole network.
"""
