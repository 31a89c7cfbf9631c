"""Linear operations and upper bounds of their norms; how far computed values are from exact ones.

Each bound is proven and rounded up (docs/design/0004-soundness.md §2 to §4).
"""
