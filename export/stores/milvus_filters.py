"""Conditions as Milvus writes them, values written out: milvus-lite takes no parameters. Standard library only."""

import json
from typing import Any

from scbch_keras.export.stores.base import Condition

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def condition_filter(condition: Condition) -> str:
    """Empty where everything fits."""
    if condition.values is not None:
        return any_of(condition.column, condition.values)
    bounds = []
    if condition.low > _LOWEST:
        bounds.append(f"{condition.column} >= {condition.low}")
    if condition.high < _HIGHEST:
        bounds.append(f"{condition.column} <= {condition.high}")
    return " and ".join(bounds)


def any_of(column: str, values: list[Any]) -> str:
    """The column holds one of the values."""
    return f"{column} in [{', '.join(map(literal, values))}]"


def visible(unfinished: list[int]) -> str:
    """The row came with an addition that has ended; empty where all have."""
    return f"addition not in [{', '.join(map(str, unfinished))}]" if unfinished else ""


def literal(value: Any) -> str:
    """An integer or string as filters have it."""
    return json.dumps(value, ensure_ascii=False)


def has_control(value: Any) -> bool:
    """Whether a value is a string that no filter finds again."""
    return isinstance(value, str) and any(char < " " or char == "\x7f" for char in value)


def check_literals(name: str, values: list[Any]) -> None:
    """Refuse strings that a filter of Milvus does not find again."""
    bad = next((value for value in values if has_control(value)), None)
    if bad is not None:
        raise ValueError(
            f"{name} must not hold control characters in Milvus, whose filters miss them; got {bad!r}"
        )
