"""Attacks: the smallest verified change that flips each image, by a cascade of gradient attacks.

Import the part you need; `summary` and `passes` load no torch.
"""
