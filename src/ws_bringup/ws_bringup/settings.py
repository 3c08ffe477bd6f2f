"""What a user may say about a run: one described dataclass behind the command line and the launch files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ws_node.options import build, option
from ws_ppl.modes import MODES
from ws_rollouts.task import task_names

LEVELS = ("debug", "info", "warn", "error", "fatal")


@dataclass(frozen=True)
class Settings:
    """A run of the whole loop, or of one part of it."""

    name: str = option("pushing", "name of the run; its folder is runs/<name>")
    robot: str = option("twin", "the simulated arm or the real Galaxea A1X", choices=("twin", "a1x"))
    task: str = option("pushing", "what to learn", choices=tuple(task_names()))
    mode: str = option("worldsample", "how to learn; hil_serl uses real data only, all others a world model beside it",
                       choices=tuple(MODES))
    demonstrations: int = option(5, "successful demonstrations to record before the policy acts", low=1, high=1000)
    operator: str = option(
        "auto", "who demonstrates and intervenes: a script (twin only), a joystick on the topic joy, or auto: the "
        "script on the twin, the joystick on the arm", choices=("auto", "scripted", "joystick")
    )
    success_source: str = option(
        "auto", "who tells success: the twin's truth, the operator, or a classifier beside the operator; auto: the "
        "truth on the twin, the operator on the arm", choices=("auto", "twin", "operator", "classifier")
    )
    namespace: str = option("", "namespace of everything, so that two robots can run side by side")
    use_sim_time: bool = option(False, "follow the twin's clock instead of the wall's")
    params_file: str = option("", "ROS parameter file laid over the graph's own parameters")
    log_level: str = option("info", "least severity that nodes log", choices=LEVELS)
    record: bool = option(True, "record every episode as a bag; without it nothing is learnt")
    resume: bool = option(True, "go on with what the run folder holds; if false it must be empty")
    launch_rviz: bool = option(False, "start rviz2, where it is installed")
    headless: bool = option(False, "no live view, plain progress lines only")
    seed: int = option(0, "seed of scenes, operator, networks and learner", low=0, high=2**31 - 1)
    minutes: float = option(0.0, "wall time with the evaluation; 0: until stopped", unit="min", low=0.0, high=1e5)
    evaluation_minutes: float = option(5.0, "of `minutes`, kept for the evaluation, at most a quarter", unit="min",
                                       low=0.0, high=120.0)
    evaluation_episodes: int = option(50, "episodes of the evaluation at the end", low=0, high=100_000)
    run_dir: str = option("", "run folder; empty: runs/<name> below the working directory")
    side_camera_serial: str = option("", "serial number of the side RealSense; empty: any (a1x only)")
    wrist_camera_serial: str = option("", "serial number of the wrist RealSense; empty: any (a1x only)")

    @property
    def folder(self) -> Path:
        """The run folder as an absolute path."""
        return Path(self.run_dir or Path("runs") / self.name).expanduser().resolve()

    @property
    def scripted(self) -> bool:
        """Whether the scripted operator runs."""
        return self.operator == "scripted" or (self.operator == "auto" and self.robot == "twin")

    @property
    def told_by(self) -> str:
        """Who tells success: twin, operator or classifier."""
        if self.success_source == "auto":
            return "twin" if self.robot == "twin" else "operator"
        return self.success_source


def make_settings(values: dict[str, Any]) -> Settings:
    """Check values, also against each other. Raises ValueError that names the setting and what is allowed."""
    settings = build(Settings, values)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", settings.name):
        raise ValueError(f"name = {settings.name!r}: must be letters, digits, '.', '_' or '-', as it names a folder")
    if not re.fullmatch(r"(/?[A-Za-z_]\w*)*", settings.namespace):
        raise ValueError(f"namespace = {settings.namespace!r}: must be a ROS namespace such as 'left' or 'lab/left'")
    if settings.params_file and not Path(settings.params_file).is_file():
        raise ValueError(f"params_file = {settings.params_file!r}: no such file")
    if settings.robot == "a1x" and settings.operator == "scripted":
        raise ValueError("operator = 'scripted': needs robot = 'twin', it reads the scene's ground truth")
    if settings.robot == "a1x" and settings.success_source == "twin":
        raise ValueError("success_source = 'twin': needs robot = 'twin', the arm has no ground truth")
    if settings.scripted and settings.success_source == "operator":
        raise ValueError("success_source = 'operator': needs operator = 'joystick', the script tells no success")
    if settings.robot == "a1x" and settings.use_sim_time:
        raise ValueError("use_sim_time = True: needs robot = 'twin', the arm has no simulated clock")
    return settings


def from_texts(texts: dict[str, str]) -> Settings:
    """Settings from launch arguments: texts are read as YAML where the setting is not itself text."""
    kinds = {f.name: f.type for f in dataclasses.fields(Settings)}
    return make_settings({k: _parsed(k, kinds.get(k, "str"), v) for k, v in texts.items()})


def parse_arguments(arguments: Iterable[str]) -> dict[str, str]:
    """`key:=value` words to a dictionary. Raises ValueError that shows the word in question."""
    pairs = {}
    for word in arguments:
        key, separator, value = word.partition(":=")
        if not separator or not key:
            raise ValueError(f"{word!r}: launch arguments look like key:=value")
        pairs[key] = value
    return pairs


def _parsed(name: str, kind: str, text: str) -> Any:
    if kind == "str":
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{name} = {text!r}: must be {kind}") from None
    return text if value is None else value
