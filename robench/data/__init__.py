"""Data sets: numpy arrays from canonical files, checked."""
