"""What each protocol did over the traits: counts of the records' own statements, and the counts in words.

Nothing here decides anything: a record says `amplified` or it does not, and this counts. A trait has one record
in a claim, the one with most evidence, whatever it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from idembench.board.shape import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from idembench.board.shape import Detail, Interval, Row

OUTCOMES: Final = ("amplified", "unchanged", "decayed", "absent", "open")
COHERENCE: Final = ("collapsed", "fell", "held", "open")
METHODS: Final = ("sft", "sdf", "rft", "dpo")
"""Methods in reading order, from imitation to preference; others follow by name."""
_NAMED: Final = 4  # traits are named up to this number, then only counted

_DID: Final[Mapping[str, tuple[str, str]]] = {
    "amplified": ("amplified {n}", "Iterating amplified {trait}."),
    "unchanged": ("left {n} unchanged", "Iterating left {trait} unchanged."),
    "decayed": ("let {n} decay", "Iterating let {trait} decay."),
    "absent": ("had no trait to change on {n}", "{Trait} was not there to be iterated."),
    "open": ("is undecided on {n}", "Whether iterating changed {trait} is undecided."),
}


def claims(rows: Sequence[Row], details: Sequence[Detail]) -> list[Claim]:
    """One claim for each model and protocol; by model, then method, arms before controls, then name."""
    groups: dict[tuple[str, str, str], dict[str, tuple[Row, Detail]]] = {}
    for row, detail in zip(rows, details, strict=True):
        by_trait = groups.setdefault((row["model"], row["pack"], row["protocol"]), {})
        known = by_trait.get(row["trait"])
        if known is None or _evidence(row) > _evidence(known[0]):
            by_trait[row["trait"]] = row, detail
    made = [_claim([group[trait] for trait in sorted(group)]) for group in groups.values()]
    return sorted(made, key=_order)


def _order(claim: Claim) -> tuple[object, ...]:
    method = claim["method"]
    place = METHODS.index(method) if method in METHODS else len(METHODS)
    return claim["model"], place, method, claim["control"] is not None, claim["protocol"], claim["keys"]


def _evidence(row: Row) -> tuple[int, int, int, str]:
    return len(row["seeds"]), row["cycles"], row["responses"], row["key"]


def outcome(row: Row) -> str:
    """What iterating did, as one word of `OUTCOMES`.

    A trait that is shown to be unchanged because it was not there is `absent`; a drift that is real counts
    also where it is shown to be smaller than the margin.
    """
    said = row["iteration"]
    if row["qualified"] and "idempotent" in said:
        return "absent"
    return next(
        (word for word in ("amplified", "decayed") if word in said), "unchanged" if "idempotent" in said else "open"
    )


def sense(row: Row) -> str:
    """What became of coherence, as one word of `COHERENCE`; a small fall within what is allowed is `held`."""
    said = row["coherence"]
    return next((word for word in ("collapsed", "held", "fell") if word in said), "open")


def _claim(group: Sequence[tuple[Row, Detail]]) -> Claim:
    rows = [row for row, _ in group]
    first = rows[0]
    outcomes, coherence = _count(rows, outcome, OUTCOMES), _count(rows, sense, COHERENCE)
    return Claim(
        model=first["model"],
        protocol=first["protocol"],
        method=first["method"],
        mode=first["mode"],
        form=first["form"],
        control=first["control"],
        keys=[row["key"] for row in rows],
        outcomes={word: len(traits) for word, traits in outcomes.items()},
        coherence={word: len(traits) for word, traits in coherence.items()},
        sentences=[
            _iterating(outcomes, len(rows), within=_within(rows)),
            _coherence(coherence, len(rows)),
            *_net(group),
            *_evidence_of(rows),
        ],
    )


def _count(rows: Sequence[Row], word_of: Callable[[Row], str], words: Sequence[str]) -> dict[str, list[str]]:
    """Traits by word; every word is there, be it without a trait."""
    counted: dict[str, list[str]] = {word: [] for word in words}
    for row in rows:
        counted[word_of(row)].append(row["trait"])
    return counted


def _within(rows: Sequence[Row]) -> int:
    """How many drifts are shown to be real, and shown to be smaller than the margin."""
    return sum("idempotent" in row["iteration"] and outcome(row) in ("amplified", "decayed") for row in rows)


def _iterating(outcomes: Mapping[str, Sequence[str]], total: int, *, within: int) -> str:
    if total == 1:
        word, (trait,) = next((word, traits) for word, traits in outcomes.items() if traits)
        said = _DID[word][1].format(trait=trait, Trait=trait[:1].upper() + trait[1:])
        return f"{said[:-1]}, by less than the margin." if within else said
    # That nothing was amplified is said too: it is what the suite asks.
    parts = [
        _DID[word][0].format(n=_number(traits, total))
        for word, traits in outcomes.items()
        if traits or word == "amplified"
    ]
    small = (
        f" {within} of these drifts {'is' if within == 1 else 'are'} shown to be smaller than the margin."
        if within
        else ""
    )
    return f"Of {total} traits, iterating {_list(parts)}.{small}"


def _coherence(coherence: Mapping[str, Sequence[str]], total: int) -> str:
    if total == 1:
        word = next(word for word, traits in coherence.items() if traits)
        return "Whether coherence held is undecided." if word == "open" else f"Coherence {word}."
    parts = [
        f"{'is undecided' if word == 'open' else word} on {_number(traits, total)}"
        for word, traits in coherence.items()
        if traits
    ]
    return f"Coherence {_list(parts)}."


def _net(group: Sequence[tuple[Row, Detail]]) -> list[str]:
    """The drift net of the controls that the records name, counted by what its interval shows."""
    beside = [(row["trait"], detail["control"]) for row, detail in group if detail["control"] is not None]
    if not beside:
        return []
    ways: dict[str, list[str]] = {"a drift up": [], "a drift down": [], "no drift": []}
    for trait, control in beside:
        ways[_way(next(effect["net"] for effect in control["effects"] if effect["name"] == "drift"))].append(trait)
    names = _list(sorted({control["protocol"] for _, control in beside}))
    shown = {way: traits for way, traits in ways.items() if traits}
    if len(group) == 1 or ("no drift" in shown and len(shown) == 1):
        return [f"Net of {names}, {next(iter(shown))} is shown."]
    parts = [
        f"{way} {'' if at else 'is shown '}on {_number(traits, len(beside))}"
        for at, (way, traits) in enumerate(shown.items())
    ]
    return [f"Net of {names}, {_list(parts)}."]


def _way(net: Interval) -> str:
    _, low, high = net
    if low is None or high is None:
        return "no drift"
    return "a drift up" if low > 0 else "a drift down" if high < 0 else "no drift"


def _evidence_of(rows: Sequence[Row]) -> list[str]:
    """A claim that rests on single chains says so."""
    alone = sum(len(row["seeds"]) == 1 for row in rows)
    if not alone:
        return []
    on = "One seed" if len(rows) == 1 else f"One seed on {alone} of {len(rows)}"
    return [f"{on}: about these very checkpoints, not about another chain."]


def _number(traits: Sequence[str], total: int) -> str:
    """How many, and which, unless it is all or none of them or too many to name."""
    if not traits:
        return "none"
    if len(traits) == total:
        return f"all {total}"
    return f"{len(traits)} ({', '.join(traits)})" if len(traits) <= _NAMED else str(len(traits))


def _list(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
