"""Certificates and adversarial examples of a run, executed again in numpy float64."""

from robench.verification.verifying import Verification, verify

__all__ = ["Verification", "verify"]
