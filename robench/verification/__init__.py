"""Certificates and adversarial examples of a run, executed again in numpy float64."""
