"""One rule for each operation of torch: how far its output can move when its input moves."""
