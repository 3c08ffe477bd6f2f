"""Qualities of service that several nodes use; anything else is reliable and volatile, as rclpy's default."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


def best_effort(depth: int) -> QoSProfile:
    """For streams of which only what is new matters."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def latched(depth: int = 1) -> QoSProfile:
    """Reliable, and whoever comes later still gets the last `depth` messages."""
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)
