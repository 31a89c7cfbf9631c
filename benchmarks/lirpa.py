"""Rates that auto_LiRPA certifies, for `tighter.py`: run by a Python with a torch that it can be imported with.

    python3.10 -m venv lirpa && lirpa/bin/pip install auto_LiRPA==0.3 torch==1.12.1 'numpy<2' tqdm
    lirpa/bin/python benchmarks/lirpa.py network.npz

The file holds weights and biases of a chain of dense layers and ReLU, images, labels and each ε. Rates go to stdout.
"""

import json
import sys
import time

import numpy as np
import torch
from auto_LiRPA import BoundedModule, BoundedTensor
from auto_LiRPA.perturbations import PerturbationLpNorm


def main() -> None:
    given = np.load(sys.argv[1])
    images, labels = torch.from_numpy(given["images"]), torch.from_numpy(given["labels"])
    layers = [torch.nn.Flatten()]
    for place in range(int(given["depth"])):
        weight = torch.from_numpy(given[f"weight{place}"])
        layers.append(torch.nn.Linear(weight.shape[1], weight.shape[0]))
        layers[-1].weight.data, layers[-1].bias.data = weight, torch.from_numpy(given[f"bias{place}"])
        layers.append(torch.nn.ReLU())
    bounded = BoundedModule(torch.nn.Sequential(*layers[:-1]), images[:1])
    classes = layers[-2].out_features
    one, rates = torch.eye(classes), []
    start = time.process_time()
    for eps in given["eps"].tolist():
        proven = 0
        for part in torch.split(torch.arange(len(images)), 50):
            differences = one[labels[part]][:, None] - one[None]
            others = ~torch.eye(classes, dtype=torch.bool)[labels[part]]
            rows = differences[others].reshape(len(part), classes - 1, classes)
            point = BoundedTensor(images[part], PerturbationLpNorm(norm=2, eps=eps))
            lower, _ = bounded.compute_bounds(x=(point,), C=rows, method="CROWN", bound_upper=False)
            proven += int((lower > 0).all(1).sum())
        rates.append(proven / len(images))
    print(json.dumps({"rates": rates, "seconds": time.process_time() - start, "torch": torch.__version__}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
