"""Certified radii: what a Lipschitz bound proves about the class of each image."""
