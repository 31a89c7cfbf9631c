"""The claims of the paper, each held against run folders, with a figure, an interval and a verdict."""

from robench.reporting.claims.claim import Claim, Verdict
from robench.reporting.claims.document import write_claims
from robench.reporting.claims.held import Evidence, held_against, read_evidence

__all__ = ["Claim", "Evidence", "Verdict", "held_against", "read_evidence", "write_claims"]
