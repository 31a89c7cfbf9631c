"""The fields of `manifest.json` and `summary.json` that are read, and their types; a field may only be missing."""

from __future__ import annotations

from robench.records.shapes import ANY

MAYBE_TEXT, MAYBE_NUMBER = (str, None), (float, None)

MODEL = {"name": str, "recipe": MAYBE_TEXT, "input_shape": [int], "classes": int, "n_params": int}
DATA = {
    "name": MAYBE_TEXT,
    "split": str,
    "shape": [int],
    "class_names": [str],
    "bounds": [float],
    "sha256": str,
    "canonical": (bool, None),
    "subset": ({"kind": str, "seed": (int, None), "of": int}, None),
    "data_dir": MAYBE_TEXT,
}
LAYER = {"name": str, "operation": str, "lipschitz_upper": MAYBE_NUMBER}
AUDIT = {
    "refused": MAYBE_TEXT,
    "lipschitz_upper": MAYBE_NUMBER,
    "lipschitz_lower": MAYBE_NUMBER,
    "layers": ([LAYER], None),
}
CERTIFICATE = {"rules": [str], "region": str, "arithmetic": str, "model": str}
TRAINING = {
    "recipe": str,
    "arch": str,
    "constraint": str,
    "seed": int,
    "epochs": int,
    "kept_epoch": int,
    "seconds": float,
    "device": MAYBE_TEXT,
    "settings": str,
    "loss": {ANY: (str, float)},
    "points": [int],
    "curves": {ANY: [float]},
}
FLAGS = ([{"name": str, "message": str}], None)
MANIFEST = {
    "status": str,
    "records_sha256": MAYBE_TEXT,
    "spec": {"data": {"name": str}, "split": str, "eps": [str], "full": bool, "seed": (int, None)},
    "identity": {ANY: str},
    "facts": {
        "model": (MODEL, None),
        "data": (DATA, None),
        "audit": (AUDIT, None),
        "certificate": (CERTIFICATE, None),
        "training": (TRAINING, None),
        "flags": FLAGS,
        "eps": [str],
        "device": MAYBE_TEXT,
        "device_name": MAYBE_TEXT,
    },
    "parents": [str],
    "argv": [str],
    "environment": {"git": ({"commit": str, "dirty": bool}, None), "versions": {ANY: str}, "platform": MAYBE_TEXT},
}
RATES = ({ANY: (float, None, {ANY: MAYBE_NUMBER})}, None)
SUMMARY = {
    "schema_version": int,
    "n": int,
    "certified_accuracy": RATES,
    "robust_accuracy": RATES,
    "passes": ({ANY: float}, None),
    "seconds": MAYBE_NUMBER,
    "flags": FLAGS,
}
