"""Plain data out of files as dataclasses that say what each field may be: pydantic, in `checks`' form of message."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError, ValidationInfo

from scbch_keras.checks import flag, nearest, number, share, shown, text, whole, widths

T = TypeVar("T")
EXACT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""For `pydantic.dataclasses.dataclass`: nothing is coerced, and there are no fields but those of the class."""
STRICT = ConfigDict(strict=True, allow_inf_nan=False)
"""Nothing is coerced; other fields are not read."""


def by(check: Callable[..., Any], *arguments: Any, **options: Any) -> PlainValidator:
    """An annotation: one of `scbch_keras.checks` says what the field may be."""

    def checked(value: Any, field: ValidationInfo) -> Any:
        return check(field.field_name, value, *arguments, **options)

    return PlainValidator(checked)


Count = Annotated[int, by(whole, 1)]
Flag = Annotated[bool, by(flag)]
Natural = Annotated[int, by(whole, 0)]
Number = Annotated[float, by(number)]
NotNegative = Annotated[float, by(number, 0)]
Positive = Annotated[float, by(number, 0, above=True)]
Seconds = Annotated[float, by(number, 0, 1e12)]
Share = Annotated[float, by(share)]
Text = Annotated[str, by(text)]
Widths = Annotated[tuple[int, ...], by(widths)]


def typed(kind: type[T], content: bytes | Mapping[str, Any], where: str = "") -> T:
    """JSON, or the fields by name, as the dataclass `kind`. Messages begin with `where`.

    Raises:
        ValueError: the first field that is missing, unknown or something else, what was expected and what is there.
    """
    try:
        if isinstance(content, bytes):
            return TypeAdapter(kind).validate_json(content)
        return kind(**content)
    except ValidationError as error:
        raise ValueError(where + _message(kind, error.errors()[0])) from error


def _message(kind: Any, error: Any) -> str:
    name = ".".join(map(str, error["loc"])) or "it"
    if error["type"] == "value_error":  # of one of the checks, which names the field itself
        return ".".join([*map(str, error["loc"][:-1]), str(error["ctx"]["error"])])
    if error["type"] == "unexpected_keyword_argument" and len(error["loc"]) == 1:
        known = sorted(field.name for field in fields(kind))
        return f"unknown setting {name!r}; known are {', '.join(known)}{nearest(name, known)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"the field {name!r} is missing"
    if error["type"] in ("unexpected_keyword_argument", "json_invalid"):
        return f"{name}: {error['msg']}"
    return f"{name} must be {error['msg'].removeprefix('Input should be ')}; got {shown(error['input'])}."
