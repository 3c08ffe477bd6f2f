"""What an imagined rollout must be before the learner looks at it."""

from __future__ import annotations

from ws_rollouts.episode import SYNTHETIC, Episode

VERSIONS = 2  # of the world model whose rollouts are used: the newest and the one before
KIND, RELOCATED = "kind", "relocated"  # note, and its value, of a demonstration that was moved to another scene
_LABELS = ("success", "failure")


def is_relocated(episode: Episode) -> bool:
    """Whether it is a demonstration that was moved to another scene: a success that is imitated."""
    return episode.notes.get(KIND) == RELOCATED


def check_synthetic(episode: Episode, newest: int) -> None:
    """Raises ValueError that names the episode and what is wrong: no imagined one, an old version, an odd label.

    A relocated demonstration is drawn from what cameras saw and labelled by geometry: it does not grow old with the
    world model's version, 0 where no network took part.
    """
    name, notes = episode.episode_id, episode.notes
    if not (episode.source == SYNTHETIC).all():
        raise ValueError(f"{name}: not synthetic")
    try:
        version, probability = int(notes["world_model_version"]), float(notes["label_probability"])
        label = notes["label"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name}: notes lack, or do not make, {error}") from error
    if is_relocated(episode):
        if version < 0:
            raise ValueError(f"{name}: world_model_version = {version}: must be 0 or more")
        if label != "success":
            raise ValueError(f"{name}: label {label!r} of a relocated demonstration: must be 'success'")
    elif version <= newest - VERSIONS:
        raise ValueError(f"{name}: imagined by version {version}, the newest is {newest}")
    if label not in _LABELS or (label == "success") != episode.success:
        raise ValueError(f"{name}: label {label!r} of a {episode.outcome}")
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"{name}: label_probability = {probability}: must be in 0 .. 1")
