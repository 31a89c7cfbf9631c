"""Attack options to attacks."""

from __future__ import annotations

from robench.attacks.cw import CarliniWagner
from robench.attacks.ddn import Ddn
from robench.attacks.deepfool import DeepFool
from robench.attacks.fgsm import Fgsm
from robench.attacks.library import LibraryAttack
from robench.attacks.pgd import Pgd
from robench.attacks.rows import RowAttack
from robench.specs.attacks import AttackOptions, CwSpec, DdnSpec, DeepFoolSpec, FgsmSpec, FoolboxOptions


def build(options: AttackOptions, bounds: tuple[float, float], seed: int) -> RowAttack | LibraryAttack:
    """The attack with these options on inputs within `bounds`."""
    if isinstance(options, FoolboxOptions):
        return LibraryAttack(options, bounds, seed)
    if isinstance(options, FgsmSpec):
        return Fgsm(options, bounds)
    if isinstance(options, DeepFoolSpec):
        return DeepFool(options, bounds)
    if isinstance(options, CwSpec):
        return CarliniWagner(options, bounds)
    if isinstance(options, DdnSpec):
        return Ddn(options, bounds, seed)
    return Pgd(options, bounds, seed)
