"""Attacks: the smallest verified change that flips each image, by an ensemble of attacks.

Import the part you need; `passes` loads no torch.
"""
