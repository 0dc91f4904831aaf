"""What is left of the effects beside a control: differences of differences, paired by seed and question.

    net effect = (y[after] - y[before]) - (u[after] - u[before])

where u are the control's scores. They stand beside the raw effects and never replace them: a net effect is
noisier, and it answers another question (what did *learning from own outputs a trait that was seeded* do), while
the raw one says what happened to the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from idembench.errors import InputError
from idembench.statistics import estimates as est
from idembench.statistics.effects import no_effect, point_effect
from idembench.statistics.results import NetEffects
from idembench.statistics.words import signed

if TYPE_CHECKING:
    from idembench.statistics.estimates import FloatArray
    from idembench.statistics.results import Effect
    from idembench.statistics.rules import Rule

DEFINITIONS: Final = {
    "seeding": "(y[0] - y[base]) - (u[0] - u[base])",
    "transmission": "(y[1] - y[0]) - (u[1] - u[0])",
    "drift": "(y[K] - y[1]) - (u[K] - u[1])",
    "coherence cost": "the same as drift, of coherence",
}


def net_effects(
    trait: FloatArray,
    coherence: FloatArray,
    control_trait: FloatArray,
    control_coherence: FloatArray,
    *,
    rule: Rule,
    repeats: int,
) -> NetEffects:
    """Effects of some chains net of those of their control.

    Args:
        trait: float64 [S, C, Q], as for `analyse`; the same seeds, checkpoints and questions in all four arrays.
        coherence: float64 [S, C, P].
        control_trait: float64 [S, C, Q].
        control_coherence: float64 [S, C, P].
        rule: The decision rule.
        repeats: Responses behind each score.

    Raises:
        InputError: If the shapes disagree.
    """
    if trait.shape != control_trait.shape or coherence.shape != control_coherence.shape:
        raise InputError(
            "A control does not fit the chains it stands beside.",
            expected=f"scores of shape {trait.shape} and {coherence.shape}: the same seeds, checkpoints, questions",
            found=f"{control_trait.shape} and {control_coherence.shape}",
        )
    last = trait.shape[1] - 1

    def net(name: str, scores: FloatArray, against: FloatArray, after: int, before: int) -> Effect:
        if max(after, before) > last or after == before:
            return no_effect(name, DEFINITIONS[name], f"the chain ends at cycle {last - 1}")
        # One resolution floor for four constant scores: the larger of what the two differences leave open.
        differences = est.paired(scores, [after], [before]) - est.paired(against, [after], [before])
        given = est.chain_law(est.moments(differences, repeats=repeats))
        return point_effect(name, DEFINITIONS[name], given, estimand="chain law", rule=rule)

    drift = net("drift", trait, control_trait, last, 2)
    return NetEffects(
        seeding=net("seeding", trait, control_trait, 1, 0),
        transmission=net("transmission", trait, control_trait, 2, 1),
        drift=drift,
        coherence_cost=net("coherence cost", coherence, control_coherence, last, 2),
        sentence=_sentence(drift),
    )


def _sentence(drift: Effect) -> str:
    if drift.reason is not None:
        return f"Net of the control nothing can be said of the drift: {drift.reason}."
    shown = (
        "is shown"
        if drift.low is not None and drift.high is not None and drift.low * drift.high > 0
        else "is not shown"
    )
    return (
        f"Net of the control the trait drifts by {signed(drift.estimate)} points "
        f"(95 % interval {signed(drift.low)} to {signed(drift.high)}): a difference from the control {shown}."
    )
