"""Trajectories to effects, intervals and statements. Pure numpy and scipy: no files, no clocks.

    scores [S, C, Q] --estimates--> moments, standard errors, intervals   (vectorised)
                     --decisions--> booleans and bounds                   (vectorised)
                     --analysis---> Analysis: plain numbers, statements in words, reasons

`rules` holds the thresholds, `retention` the one ratio, `net` effects beside those of a control, `study` the source study's own rules, `results`
the values that a record embeds. How often all this is wrong is simulated in `idembench.error_rates` with
the same functions. The statements and their error rates are explained in design.md, section 7.
"""

from __future__ import annotations

from idembench.statistics.analysis import analyse
from idembench.statistics.net import net_effects
from idembench.statistics.results import (
    Analysis,
    BeyondMargin,
    Checkpoint,
    CoherenceStatement,
    CycleTest,
    Effect,
    Effects,
    IterationStatement,
    Level,
    NetEffects,
    ProvenBound,
    SeedingStatement,
    TransmissionStatement,
    Verdict,
)
from idembench.statistics.rules import RULES, Rule
from idembench.statistics.study import StudyRule

__all__ = [
    "RULES",
    "Analysis",
    "BeyondMargin",
    "Checkpoint",
    "CoherenceStatement",
    "CycleTest",
    "Effect",
    "Effects",
    "IterationStatement",
    "Level",
    "NetEffects",
    "ProvenBound",
    "Rule",
    "SeedingStatement",
    "StudyRule",
    "TransmissionStatement",
    "Verdict",
    "analyse",
    "net_effects",
]
