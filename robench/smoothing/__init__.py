"""Randomized smoothing: certificates, with a probability, of another classifier made of the model and noise."""
