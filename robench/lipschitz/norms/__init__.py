"""Norms of linear maps: dense, convolution, grouped, pooled; each an upper bound, rounded up."""
