"""Turns the graph into launch_ros actions. Imported by the launch files only, where launch_ros is installed."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import Any

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from ws_bringup.environment import defaults
from ws_bringup.graph import PARTS, Process, make_graph, parameter_file
from ws_bringup.locks import AlreadyRunning, run_locks
from ws_bringup.session import prepare_folder
from ws_bringup.settings import Settings, from_texts
from ws_bringup.supervisor import REFUSED
from ws_node.options import describe

# `ros2 launch` runs until it is stopped and shows its own log lines
_RUNNER_ONLY = ("minutes", "evaluation_minutes", "evaluation_episodes", "headless")
_held = ExitStack()  # the run's locks, for as long as this launch lives


def describe_launch(parts: tuple[str, ...] = PARTS, **other_defaults: Any) -> LaunchDescription:
    """The launch description of these parts of the graph, with every setting as a launch argument."""
    fields = [f for f in dataclasses.fields(Settings) if f.name not in _RUNNER_ONLY]
    declared = [_argument(field, other_defaults.get(field.name, field.default)) for field in fields]
    names = [field.name for field in fields]
    return LaunchDescription([*declared, OpaqueFunction(function=_actions, args=[names, parts])])


def _argument(field: dataclasses.Field, default: Any) -> DeclareLaunchArgument:
    choices = ["true", "false"] if isinstance(field.default, bool) else list(field.metadata["choices"]) or None
    text = field.metadata["description"] if choices else describe(field)  # launch lists the choices itself
    return DeclareLaunchArgument(field.name, default_value=_text(default), description=text, choices=choices)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _actions(context: LaunchContext, names: list[str], parts: tuple[str, ...]) -> list:
    try:
        settings = from_texts({name: LaunchConfiguration(name).perform(context) for name in names})
        graph = make_graph(settings, parts)
        if "learning" in parts:
            prepare_folder(settings)
            _held.enter_context(run_locks(settings))
    except (ValueError, OSError, AlreadyRunning) as error:
        raise RuntimeError(str(error)) from None
    environment = [SetEnvironmentVariable(k, EnvironmentVariable(k, default_value=v)) for k, v in defaults().items()]
    return [*environment, LogInfo(msg=f"run folder: {settings.folder}"), *(_node(p, settings) for p in graph)]


def _node(process: Process, settings: Settings) -> Node:
    return Node(
        package=process.package,
        executable=process.executable,
        name=process.name,
        exec_name=process.name,
        namespace=process.namespace,
        parameters=[str(parameter_file(process, settings))],
        remappings=list(process.remappings),
        arguments=list(process.arguments),
        ros_arguments=["--log-level", settings.log_level],
        additional_env=process.environment,
        prefix="chrt --idle 0" if process.background else None,
        output="both",
        respawn=process.respawn,
        respawn_delay=0.5,
        sigterm_timeout="4",
        sigkill_timeout="3",
        on_exit=_on_exit(process),
    )


def _on_exit(process: Process):
    def decide(event, _: LaunchContext):
        if process.required and (event.returncode == REFUSED or not process.respawn):
            return Shutdown(reason=f"{process.name} refused to start: exit code {event.returncode}")
        return None

    return decide
