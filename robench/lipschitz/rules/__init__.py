"""One rule for each operation of torch: how far its output can move when its input moves.

`table.py` lists all of them; docs/adding-a-rule.md says how to add one.
"""
