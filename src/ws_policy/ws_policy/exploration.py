"""How far from its best action the policy acts, unless it is told otherwise."""

from __future__ import annotations

EXPLORATION = 0.3  # share of the actor's standard deviation; with all of it Assembly is lost where its mean wins
