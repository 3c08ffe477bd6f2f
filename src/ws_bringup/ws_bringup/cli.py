"""The command line: worldsample run | evaluate | experiment | fidelity | doctor."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import signal
import sys
from collections.abc import Sequence

from ws_bringup.locks import AlreadyRunning
from ws_bringup.settings import Settings, from_texts, parse_arguments
from ws_node.options import describe

FLAGS = ("name", "task", "mode", "minutes", "seed")  # settings with a flag of their own


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 2 for anything that was asked for wrongly."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("evaluate", "experiment", "fidelity"):  # imported late, they load torch and mujoco
        command = importlib.import_module(f"ws_bringup.{words[0]}")
        parser = argparse.ArgumentParser(f"worldsample {words[0]}", description=command.__doc__)
        return command.main(command.arguments(parser).parse_args(words[1:]))
    arguments, rest = _parser().parse_known_args(words)  # launch arguments may stand between the flags
    try:
        return arguments.handler(arguments, rest)
    except (ValueError, AlreadyRunning, OSError) as error:
        print(f"worldsample: error: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace, rest: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it at once until the session takes it: nothing has started yet
    from ws_bringup import session

    texts = {name: value for name in FLAGS if (value := getattr(arguments, name)) is not None}
    if arguments.headless:
        texts["headless"] = "true"
    return session.run(from_texts({**texts, **parse_arguments(rest)}))


def _doctor(_: argparse.Namespace, rest: list[str]) -> int:
    from ws_bringup import doctor

    if rest:
        raise ValueError(f"doctor takes no arguments, not {rest[0]!r}")
    return doctor.main()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("worldsample", description="Robot learning with a world model on ROS 2.")
    commands = parser.add_subparsers(required=True, metavar="run | evaluate | experiment | fidelity | doctor")
    settings = {field.name: field for field in dataclasses.fields(Settings)}
    run = commands.add_parser(
        "run",
        usage="worldsample run [options] [key:=value ...]",
        help="start the whole loop and keep it up",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="launch arguments (key:=value):\n" + "\n".join(_help_line(field) for field in settings.values()),
    )
    for name in FLAGS:
        run.add_argument(f"--{name}", metavar=name.upper(), help=describe(settings[name]).replace("%", "%%"))
    run.add_argument("--headless", action="store_true", help=describe(settings["headless"]))
    run.set_defaults(handler=_run)
    commands.add_parser("evaluate", help="measure a policy in lockstep, without ROS (see evaluate --help)")
    commands.add_parser("experiment", help="modes and seeds side by side, in lockstep (see experiment --help)")
    commands.add_parser("fidelity", help="measure how true a world model is (see fidelity --help)")
    doctor = commands.add_parser("doctor", help="check whether this machine can run it")
    doctor.set_defaults(handler=_doctor)
    return parser


def _help_line(field: dataclasses.Field) -> str:
    default = f" (default {field.default})" if field.default != "" else ""
    return f"  {field.name:22}{describe(field)}{default}"


def script() -> None:
    """Entry point of the installed command."""
    sys.exit(main())
