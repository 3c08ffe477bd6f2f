"""Described options: one dataclass is the declaration, the check and the documentation. Knows no ROS."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
_KINDS = {"bool": bool, "int": int, "float": float, "str": str, "tuple[float, ...]": tuple}


def option(
    default: Any,
    description: str,
    *,
    unit: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    choices: Sequence[str] = (),
) -> Any:
    """A dataclass field with its unit, its inclusive range or its choices, and what it is for.

    Field types are bool, int, float, str or tuple[float, ...]; the range holds for each element.
    """
    metadata = {"description": description, "unit": unit, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Make a checked `cls` from loosely typed values (YAML, command line, ROS parameters).

    Raises ValueError that names the option (with `prefix` before it), the value and what is allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(f"{cls.__name__}: unknown option {unknown[0]!r}; known are {', '.join(sorted(fields))}")
    try:
        checked = {name: _checked(fields[name], value) for name, value in values.items()}
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
    return cls(**checked)


def describe(field: dataclasses.Field) -> str:
    """One line: description, unit and range of an option."""
    unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
    allowed = _allowed(field)
    return field.metadata["description"] + unit + (f"; {allowed}" if allowed else "")


def _allowed(field: dataclasses.Field) -> str:
    meta = field.metadata
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    if math.isfinite(meta["low"]) or math.isfinite(meta["high"]):
        return f"in {meta['low']:.10g} .. {meta['high']:.10g}"
    return ""


def _checked(field: dataclasses.Field, value: Any) -> Any:
    kind = _KINDS[_type_name(field)]
    value = _converted(field, kind, value)
    if not all(_allows(field, element) for element in (value if kind is tuple else (value,))):
        shown = list(value) if kind is tuple else value
        raise ValueError(f"{field.name} = {shown!r}: must be {_allowed(field)} ({field.metadata['description']})")
    return value


def _type_name(field: dataclasses.Field) -> str:
    """The type as it is written: a text where annotations are postponed, else a type."""
    kind = field.type
    return kind if isinstance(kind, str) else str(kind) if hasattr(kind, "__origin__") else kind.__name__


def _converted(field: dataclasses.Field, kind: type, value: Any) -> Any:
    if kind is tuple:
        return _numbers(field, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{field.name} = {value!r}: must be {_type_name(field)} ({describe(field)})")


def _numbers(field: dataclasses.Field, value: Any) -> tuple[float, ...]:
    size = len(field.default)
    if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)):
        value = list(value)  # ROS hands over arrays
        if len(value) == size and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
            return tuple(float(v) for v in value)
    raise ValueError(f"{field.name} = {value!r}: must be {size} numbers ({describe(field)})")


def _allows(field: dataclasses.Field, value: Any) -> bool:
    meta = field.metadata
    if meta["choices"]:
        return value in meta["choices"]
    return isinstance(value, (bool, str)) or meta["low"] <= value <= meta["high"]  # NaN is refused too
