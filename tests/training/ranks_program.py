"""A program for torchrun, or for one process: some steps of a training; the first process stores what it came to."""

from __future__ import annotations

import contextlib
import sys

import torch

from robench.data import load
from robench.engines.torchrun import under_torchrun
from robench.specs.data import DataSpec
from robench.training.batches import generator
from robench.training.planning import train_spec
from robench.training.ranks import ALONE, joined
from robench.training.session import Session

recipe, steps, size, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(1)
data = DataSpec(name="digits")
spec = train_spec(recipe, data, epochs=1, changes={"batch_size": size})
train, validation = load(data, "train").take(steps * size - size // 2), load(data, "validation")
cpu = torch.device("cpu")
with joined(cpu) if under_torchrun() else contextlib.nullcontext(ALONE) as ranks:
    session = Session(spec, train, validation, cpu, ranks)
    noise = generator(0, 0, stream=1)
    found: dict[str, torch.Tensor] = {}
    for step, batch in enumerate(session._train.epoch(size, seed=0, epoch=0)):
        found[f"loss {step}"] = session._train_step(batch, noise)
        for name, parameter in session.model.named_parameters():
            found[f"{step} {name}"] = parameter.grad.clone()
    found |= {name: parameter.detach() for name, parameter in session.model.named_parameters()}
    if ranks.rank == 0:
        torch.save(found, out)
