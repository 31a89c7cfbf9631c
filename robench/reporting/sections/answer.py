"""What a reader came for: which model to take, whether that is certain, what it costs, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence

from robench.reporting import tables
from robench.reporting.evaluation import Evaluation
from robench.reporting.page import Answer, Contender, Question, TableExhibit
from robench.reporting.sections import words
from robench.reporting.sections.words import isolated, listed
from robench.reporting.tables import shown
from robench.reporting.tables.ranking import chance
from robench.reporting.tables.standings import Ranking, Standing
from robench.reporting.tables.table import Rate

NOTE = (
    "Certified: proven, rounded down. Attacked: under all attacks together, rounded up. Open: neither proven nor "
    "broken. Equal ranks: the sampling error does not tell them apart (exact McNemar test on the same images, 5 % for "
    "all pairs together, p adjusted by Holm). Doubts: contradictions and kinds of flags. Seconds are of the machine of "
    "each run."
)
LIMITS = (
    "Limits: L2 changes of size ε or less, images like these, the exported weights; nothing is said of other changes "
    "or other data."
)


def answer(ranking: Ranking, anchors: dict[str, str], keys: dict[str, str], place: int) -> Answer:
    """The first part of the page, on one data set.

    Args:
        ranking: of its models.
        anchors: of the section of each model, by name.
        keys: what a model is called in the address of a state of the page, by name.
        place: number of the data set.
    """
    unit = f"{ranking.data} at ε = {ranking.eps}"
    return Answer(
        anchor=f"answer-{place:02d}",
        where=unit,
        headline=_headline(ranking),
        advice=_reason(ranking),
        limits=LIMITS,
        sound=not any(item.item.contradictions for item in ranking.standings),
        questions=(
            Question("Which is best?", _best(ranking)),
            Question("Is the difference real?", _real(ranking)),
            Question("What does it cost?", _cost(ranking)),
            Question("May I trust it?", _trust(ranking)),
            Question("What was run?", _run(ranking)),
        ),
        contenders=tuple(_contender(item, ranking, anchors, keys) for item in ranking.standings),
        table=TableExhibit(
            f"ranking-{place:02d}",
            f"Models on {unit}, ranked by {'certified accuracy' if ranking.proven else 'accuracy under attack'}.",
            tables.ranked(ranking),
            NOTE + _looser(ranking),
        ),
    )


def _contender(item: Standing, ranking: Ranking, anchors: dict[str, str], keys: dict[str, str]) -> Contender:
    tied = len(ranking.first) > 1
    alone = len(ranking.standings) == 1
    badge = "" if alone or not item.tied else "tie" if tied else "best"
    if item.item.contradictions:
        badge = "contradicted"
    return Contender(keys[item.item.name], item.item.name, anchors[item.item.name], badge, item.low, item.attacked)


def _headline(ranking: Ranking) -> str:
    if any(item.item.contradictions for item in ranking.standings):
        return "Ship none yet: certificates and attacks contradict each other"
    if not ranking.first:
        return "Nothing to choose from: no model was certified or attacked"
    best = [isolated(item.item.name) for item in ranking.first]
    if _worthless(ranking):
        return f"Ship none for this ε: no model is {'proven' if ranking.proven else 'found'} above the base rate"
    if len(ranking.standings) == 1:
        return f"{best[0]} is the only model: nothing to choose from"
    if not ranking.proven:
        return f"No model is proven; under these attacks {listed(best)} {_stands(best)} best"
    return f"Ship {best[0]}" if len(best) == 1 else f"Ship {listed(best, 'or')}: they cannot be told apart"


def _stands(names: Sequence[str]) -> str:
    return "stands" if len(names) == 1 else "stand"


def _worthless(ranking: Ranking) -> bool:
    """Whether not even the best is above a model that says one class for every image."""
    best = ranking.first[0]
    rate, base = _rate(best, ranking), best.base
    return best.knows_nothing or (rate is not None and base is not None and float(rate) <= float(base))


def _rate(item: Standing, ranking: Ranking) -> Rate | None:
    return item.certified if ranking.proven else item.attacked


def _reason(ranking: Ranking) -> str:
    """Why, in a sentence."""
    if not ranking.first:
        return "No run has a finished image with a rate."
    best = ranking.first[0]
    name, rate = isolated(best.item.name), _rate(best, ranking)
    how = "proven to stay right on" if ranking.proven else "unbroken by all attacks together on"
    reason = f"{name} is {how} {shown(rate, unit=' %')} of {_n(rate)} images"
    if _worthless(ranking):
        reason += f", and a model that knows nothing reaches the base rate, {shown(best.base, unit=' %')}"
    elif len(ranking.first) > 1:
        others = [f"{isolated(row.item.name)} ({shown(_rate(row, ranking), unit=' %')})" for row in ranking.first[1:]]
        verb = "lies" if len(others) == 1 else "lie"
        reason += f"; {listed(others)} {verb} within the sampling error. {_tie_break(ranking)}"
    elif len(ranking.standings) > 1:
        reason += ", more than any other model by more than the sampling error"
    return f"{reason}."


def _tie_break(ranking: Ranking) -> str:
    """What else speaks for one of those that are tied."""
    known = [item for item in ranking.first if item.clean is not None]
    if len(known) < 2:
        return "Take the one that costs less"
    clean = max(known, key=lambda item: float(item.clean or 0.0))
    return f"Of these {isolated(clean.item.name)} has the highest clean accuracy, {shown(clean.clean, unit=' %')}"


def _best(ranking: Ranking) -> str:
    if not ranking.first:
        return "No model has a rate."
    kind = "certified" if ranking.proven else "under attack"
    rates = [f"{isolated(item.item.name)} {shown(_rate(item, ranking), unit=' %')}" for item in ranking.first]
    text = f"{listed(rates)}, {kind} at ε = {ranking.eps}."
    best = ranking.first[0]
    if best.low is not None and best.attacked is not None:
        text += (
            f" On the {_n(best.attacked)} attacked images the truth for {isolated(best.item.name)} lies between "
            f"{best.low} and {best.attacked} %."
        )
    unranked = [isolated(item.item.name) for item in ranking.standings if item.rank is None]
    if ranking.proven and unranked:
        text += f" Without a valid certificate, so not ranked: {listed(unranked)}."
    return text


def _real(ranking: Ranking) -> str:
    ranked = [item for item in ranking.standings if item.rank is not None]
    if len(ranked) < 2:
        return "There is nothing to compare it with."
    best, rival = ranked[0], next((item for item in ranked if not item.tied), None)
    text = []
    if len(ranking.first) > 1:
        tied = ranking.first[1]
        text.append(f"Not between {isolated(best.item.name)} and {isolated(tied.item.name)}: {_split(best, tied)}.")
    if rival is not None:
        text.append(f"Yes, {'to' if text else 'from'} {isolated(rival.item.name)}: {_split(best, rival)}.")
    return " ".join(text)


def _split(best: Standing, other: Standing) -> str:
    found = other.against_best
    if found is None or not found.n:
        return "no image was judged for both"
    p = chance(found.p)
    return (
        f"of {_number(found.n)} images {found.second} speak for {isolated(best.item.name)} alone and {found.first} for "
        f"{isolated(other.item.name)} alone (p {p if p.startswith('<') else f'= {p}'})"
    )


def _cost(ranking: Ranking) -> str:
    if not ranking.standings:
        return "Nothing was run."
    best = (ranking.first or ranking.standings)[0]
    known = [
        (f"{words.duration(best.item.training_seconds)} training", best.item.training_seconds),
        (f"{words.duration(_seconds(best.item, 'certify'))} certifying", _seconds(best.item, "certify")),
        (f"{words.duration(_seconds(best.item, 'attack'))} attacking", _seconds(best.item, "attack")),
    ]
    parts = [text for text, seconds in known if seconds is not None]
    text = f"{isolated(best.item.name)}: {', '.join(parts)}." if parts else "The runs did not note it."
    passes = best.item.passes_an_image
    if passes is not None:
        text += f" An attacked image took {_number(round(passes))} passes."
    if best.item.training_seconds is None and parts:
        text += " The cost of its training is not in the runs."
    return text


def _seconds(item: Evaluation, command: str) -> float | None:
    run = item.certify if command == "certify" else item.attack
    return None if run is None else run.summary.get("seconds")


def _trust(ranking: Ranking) -> str:
    broken = [item for item in ranking.standings if item.item.contradictions]
    if broken:
        count = sum(len(item.item.contradictions) for item in broken)
        return f"No. {count} adversarials lie within a certified radius, of {listed(_names(broken))}."
    checked = sum(item.item.attack.n for item in ranking.standings if item.item.attack and item.low)
    text = (
        f"0 contradictions in {_number(checked)} attacks on certified images"
        if checked
        else "Nothing was cross-checked"
    )
    flagged = [item for item in ranking.standings if item.item.flags]
    partial = [item for item in ranking.standings if any(run.status != "success" for run in item.item.runs)]
    text += f"; flags on {listed(_names(flagged))}" if flagged else "; no flags"
    text += f"; unfinished runs of {listed(_names(partial))}." if partial else "."
    unasked = [item for item in ranking.standings if item.attacked is not None and not item.asked]
    if unasked:
        text += (
            f" The attacks were not asked about ε = {ranking.eps}, so what they broke there is less than they could."
        )
    return text


def _run(ranking: Ranking) -> str:
    items = [standing.item for standing in ranking.standings]
    runs = {run.folder: run for item in items for other in item.whole for run in other.runs}.values()
    attacks = list(dict.fromkeys(name for item in items for name in item.attacks))
    certified = {item.certify.n for item in items if item.certify}
    attacked = {item.attack.n for item in items if item.attack}
    text = f"{words.counted(len(runs), 'run')} of {words.counted(len(items), 'model')} on {ranking.data}"
    if certified:
        text += f"; {words.span(certified)} images certified"
    if attacked:
        text += f"; {words.span(attacked)} attacked by {listed(attacks) if attacks else 'nothing yet'}"
    versions = sorted({str(run.manifest.get("environment", {}).get("versions", {}).get("robench")) for run in runs})
    return f"{text}; by robench {', '.join(versions)}."


def _looser(ranking: Ranking) -> str:
    loose = [item for item in ranking.standings if item.attacked is not None and not item.asked]
    if not loose:
        return ""
    return (
        f" Not asked about ε = {ranking.eps}: the attacks on {listed(_names(loose))}. What they found elsewhere "
        "is counted, a looser upper bound."
    )


def _names(items: Sequence[Standing]) -> list[str]:
    return [isolated(item.item.name) for item in items]


def _n(rate: Rate | None) -> str:
    return "0" if rate is None else _number(rate.n)


def _number(value: int) -> str:
    return words.thousands(value)
