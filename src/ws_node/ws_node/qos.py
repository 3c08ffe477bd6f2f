"""Qualities of service that several nodes use; anything else is reliable and volatile, as rclpy's default."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

ALIVE = 0.8  # s without a sign of life from its process until a publisher counts as gone


def best_effort(depth: int) -> QoSProfile:
    """For streams of which only what is new matters."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def latched(depth: int = 1) -> QoSProfile:
    """Reliable, and whoever comes later still gets the last `depth` messages."""
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def alive(depth: int = 10) -> QoSProfile:
    """Reliable, and its readers are told within `ALIVE` when the publishing process has died: its transport says so."""
    return QoSProfile(depth=depth, liveliness=LivelinessPolicy.AUTOMATIC,
                      liveliness_lease_duration=Duration(seconds=ALIVE))
