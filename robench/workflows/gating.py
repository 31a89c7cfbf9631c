"""`--fail-under` and `robench gate`: whether a run reaches a least rate, and whether it fell behind an earlier one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robench.errors import RunError, SpecError
from robench.records.crosscheck import contradictions
from robench.records.record import AttackRecord, CertifyRecord, rules_of
from robench.records.smoothed import SMOOTHED_COMMAND, SmoothedRecord, confidence
from robench.runs.run import AnyRun, Run, read_all_runs
from robench.specs.epsilon import DEFAULT_EPS, ascending, epsilon_value
from robench.specs.smoothing import Sampling
from robench.statistics.pairing import LEVEL, Difference, Judged, difference, holm
from robench.statistics.predictions import CONSTANT, Prediction, record_flags
from robench.workflows.reading import heading

MEASURES = ("clean", "certified", "attacked")
"""What a line may be about: images predicted right; certified by the tightest rule; that stand against all attacks."""
Right = Callable[[Any], bool]
GatedRun = AnyRun | Run[SmoothedRecord]
AGAIN = "make the baseline again with the command of the run"


def shortfalls(counts: Mapping[str, int], summary: Mapping[str, Any], least: float) -> list[str]:
    """Why a run does not reach a least rate; nothing if it does.

    A model that predicts one class for all images never reaches it: its rate says only how frequent that class is.

    Args:
        counts: images that are certified, or that stand, by ε.
        summary: of the run, with its number of images and its flags.
        least: share of the images, from 0 to 1.
    """
    n = summary["n"]
    found = [f"{count} of {n} images at ε = {text}" for text, count in counts.items() if count / n < least]
    if any(flag["name"] == CONSTANT for flag in summary["flags"]):
        found.append(f"the model predicts one class for all {n} images")
    return found


class Requirement(NamedTuple):
    """A least rate.

    Fields:
        measure: one of `MEASURES`.
        eps: radius as written; None for `clean`.
        least: share of all images.
    """

    measure: str
    eps: str | None
    least: Fraction


@dataclass(frozen=True)
class Line:
    """One thing that a gate looks at.

    Fields:
        name: such as `certified@1.58`.
        count: images of the run that count.
        n: images of the run.
        baseline: images of the baseline that count; None where none is compared.
        lost, gained: images that count in one of the two runs alone; None where none is compared.
        p: chance of so uneven a split if both models were equally good; it holds for all lines together.
        reason: why the line fails; empty where it does not.
        note: what is worth saying of a line that does not fail; mostly empty.
    """

    name: str
    count: int
    n: int
    baseline: int | None = None
    lost: int | None = None
    gained: int | None = None
    p: float | None = None
    reason: str = ""
    note: str = ""


def gate(
    run: str | PathLike[str],
    *,
    baseline: str | PathLike[str] | None = None,
    tolerance: float = 0.0,
    requirements: Sequence[str] = (),
) -> dict[str, Any]:
    """Hold a run against least rates and against a baseline, line by line; docs/json.md describes the keys.

    A line fell if its rate lies below that of the baseline by more than the tolerance, and if chance does not explain
    it: the exact test of McNemar on the same images, over all lines together by Holm, at 5 %. What is required is
    compared exactly. A run with a contradiction, or of a model that predicts one class only, fails.

    Args:
        run: folder of a certify or attack run.
        baseline: folder of an earlier run, with the same command on the same images; None for none.
        tolerance: share of the images by which a rate may fall.
        requirements: such as `certified@1.58=0.60`, `attacked@1=0.5`, `clean=0.97`.

    Raises:
        RunError: a run is missing, not finished, or cannot be compared with the other.
        SpecError: a requirement cannot be read, or the run says nothing of it; or nothing is asked.
    """
    asked = [requirement(text) for text in requirements]
    if not asked and baseline is None:
        raise SpecError("nothing is asked of the run", hint="give --baseline RUN or --require certified@1.58=0.60")
    new = _only_run(run)
    measures = _measures(new)
    lines = list(_compared(new, _only_run(baseline), tolerance)) if baseline is not None else []
    lines += [_required(item, new, measures) for item in asked]
    lines += _unsound(new)
    failed = [line for line in lines if line.reason]
    return {
        **heading("gate"),
        "folder": str(run),
        "baseline": None if baseline is None else str(baseline),
        "model": new.model_name,
        "data": new.data_name,
        "n": new.n,
        "tolerance": tolerance,
        "confidence": confidence(new.n, _sampling(new).alpha) if new.command == SMOOTHED_COMMAND else None,
        "lines": [dataclasses.asdict(line) for line in lines],
        "n_failed": len(failed),
    }


def requirement(text: str) -> Requirement:
    """A least rate as it is written: `certified@1.58=0.60`.

    Raises:
        SpecError: it is written otherwise.
    """
    name, equals, rate = text.partition("=")
    measure, at, eps = name.strip().partition("@")
    try:
        least = Fraction(rate.strip())
    except (ValueError, ZeroDivisionError):
        least = Fraction(-1)
    if not equals or measure not in MEASURES or (measure == "clean") == bool(at) or not 0 <= least <= 1:
        raise SpecError(
            f"`{text}` is no requirement",
            hint="write `certified@1.58=0.60`, `attacked@1=0.5` or `clean=0.97`, with a rate from 0 to 1",
        )
    if at:
        epsilon_value(eps)
    return Requirement(measure, eps.strip() if at else None, least)


def _only_run(path: str | PathLike[str]) -> GatedRun:
    """The finished run in a folder."""
    of_models, smoothed = read_all_runs([Path(path)])
    runs: list[GatedRun] = [*of_models, *smoothed]
    if len(runs) > 1:
        names = ", ".join(f"`{run.folder}`" for run in runs[:3])
        raise RunError(f"`{path}` holds {len(runs)} runs: {names}", hint="name one of them")
    if runs[0].status != "success":
        raise RunError(
            f"`{path}` is not finished: {runs[0].status}", hint="give the command of the run again; it goes on"
        )
    return runs[0]


def _measures(run: GatedRun) -> dict[str, Right]:
    """What the records of a run say, by the name of a line: whether an image counts."""
    found: dict[str, Right] = {"clean": lambda record: record.predicted == record.label}
    for text in _eps(run):
        found |= {f"{measure}@{text}": _right(run, measure, text) for measure in _speaks_of(run)}
    return found


def _speaks_of(run: GatedRun) -> tuple[str, ...]:
    if run.command != "attack":
        return ("certified",)
    refused = run.bound is not None and run.bound.refused is not None
    return ("attacked",) if refused else ("certified", "attacked")


def _right(run: GatedRun, measure: str, eps: str) -> Right:
    radius = epsilon_value(eps)
    if measure == "attacked":
        return lambda record: bool(record.robust_at(radius))
    if run.command == "attack":
        return lambda record: bool(record.certified_at(radius))
    if run.command == SMOOTHED_COMMAND:
        return lambda record: bool(record.certified_radius > radius)
    rule = rules_of([record for record in run.records if isinstance(record, CertifyRecord)])[-1]
    return lambda record: bool(record.certified_to(rule, radius))


def _eps(run: GatedRun) -> tuple[str, ...]:
    """The radii that a run speaks of."""
    if run.command == "attack":
        return ascending(run.spec.get("eps", ()))
    return ascending(run.facts.get("eps", ())) or DEFAULT_EPS


def _compared(new: GatedRun, old: GatedRun, tolerance: float) -> Iterator[Line]:
    """Every measure of both runs, on the same images."""
    _require_comparable(new, old)
    before = {record.index: record for record in old.records}
    judged: list[tuple[str, int, Difference]] = []
    images = [(record.index, record.input_sha256) for record in new.records]
    earlier = _measures(old)
    for name, right in _measures(new).items():
        if name in earlier:
            now = np.array([right(record) for record in new.records], dtype=bool)
            then = np.array([earlier[name](before[record.index]) for record in new.records], dtype=bool)
            judged.append((name, int(now.sum()), difference(Judged(images, then), Judged(images, now))))
    chances = holm([item.p for *_, item in judged])
    for (name, count, item), p in zip(judged, chances, strict=True):
        yield _line(name, count, item._replace(p=p), tolerance)


def _line(name: str, count: int, item: Difference, tolerance: float) -> Line:
    """A line of the comparison, and whether it fell.

    Args:
        name: of the measure.
        count: images of the run that count.
        item: the baseline against the run.
        tolerance: share of the images.
    """
    n, lost, gained, p = item
    fall = Fraction(lost - gained, n)
    line = Line(name, count, n, count + lost - gained, lost, gained, p)
    if fall <= Fraction(str(tolerance)):  # as written: 0.01 of 100 images is one image
        return line
    text = f"fell from {line.baseline} to {count} of {n} images: {lost} lost, {gained} gained, p = {p:.2g}"
    return replace(line, reason=text) if p <= LEVEL else replace(line, note=f"{text}; chance may explain it")


def _require_comparable(new: GatedRun, old: GatedRun) -> None:
    """Refuse runs that do not speak of the same images in the same way.

    Raises:
        RunError: they do not.
    """
    if new.command != old.command:
        raise RunError(
            f"the run and the baseline differ in the command: `{new.command}` and `{old.command}`", hint=AGAIN
        )
    pairs = {
        "the data": (" ".join(new.data_key), " ".join(old.data_key)),
        "the arithmetic": (new.arithmetic, old.arithmetic),
        "the box": (str(new.spec.get("box")), str(old.spec.get("box"))),
    }
    if new.command == "attack":
        pairs |= {
            "ε": (", ".join(_eps(new)), ", ".join(_eps(old))),
            "the attacks": (str(new.spec.get("attacks")), str(old.spec.get("attacks"))),
            "--full": (str(new.spec.get("full")), str(old.spec.get("full"))),
        }
    if new.command == SMOOTHED_COMMAND:
        asked, before = _sampling(new), _sampling(old)
        names = ("sigma", "n", "n0", "alpha")
        pairs |= {name: (str(getattr(asked, name)), str(getattr(before, name))) for name in names}
    what = next((what for what, (one, other) in pairs.items() if one != other), None)
    if what is not None:
        raise RunError(
            f"the run and the baseline differ in {what}: `{pairs[what][0]}` and `{pairs[what][1]}`",
            hint=AGAIN,
        )
    if new.command != "attack" and not set(_eps(new)) & set(_eps(old)):
        raise RunError(
            f"the run was asked at ε = {', '.join(_eps(new))}, the baseline at {', '.join(_eps(old))}",
            hint="certify both at one ε; radii that are there are not computed again",
        )
    ours, theirs = ({(record.index, record.input_sha256) for record in run.records} for run in (new, old))
    if ours != theirs:
        image = min(ours ^ theirs)[0]
        place = "the run" if image in {index for index, _ in ours} else "the baseline"
        raise RunError(
            f"the run holds {len(ours)} images and the baseline {len(theirs)}, and only {place} has this image {image}",
            hint="make both with the same --limit, --subset and --split",
        )


def _sampling(run: GatedRun) -> Sampling:
    """How a smoothed classifier was asked.

    Raises:
        SpecError: the manifest does not say.
    """
    return Sampling.from_dict(run.spec.get("sampling") or {})


def _required(item: Requirement, run: GatedRun, measures: Mapping[str, Right]) -> Line:
    """Whether a least rate is reached.

    Raises:
        SpecError: the run says nothing of it.
    """
    name = item.measure if item.eps is None else f"{item.measure}@{item.eps}"
    right = measures.get(name)
    if right is None and run.command != "attack" and item.measure == "certified" and item.eps is not None:
        right = _right(run, item.measure, item.eps)  # a radius answers every ε
    if right is None:
        raise SpecError(f"the run says nothing of `{name}`", hint=f"it knows {', '.join(measures)}")
    count = sum(map(right, run.records))
    reached = Fraction(count, run.n) >= item.least
    reason = "" if reached else f"{count} of {run.n} images, below the required {float(item.least):g}"
    return Line(f"{name} >= {float(item.least):g}", count, run.n, reason=reason)


def _unsound(run: GatedRun) -> list[Line]:
    """What fails a run whatever its rates are."""
    lines = []
    given = [Prediction(item.label, item.predicted) for item in run.records if item.predicted is not None]
    if any(flag.name == CONSTANT for flag in record_flags(given)):
        text = f"the model predicts one class for all {len(given)} images"
        lines.append(Line(CONSTANT, run.n, run.n, reason=text))
    found = contradictions([], [record for record in run.records if isinstance(record, AttackRecord)])
    if found:
        text = f"{len(found)} adversarial examples within a certified radius"
        lines.append(Line("contradictions", len(found), run.n, reason=text))
    return lines
