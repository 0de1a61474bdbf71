"""Dates as a listing shows them: how long ago, and beyond a month the day."""

from datetime import UTC, datetime

_UNITS = ((60, "second", 1), (3600, "minute", 60), (86400, "hour", 3600), (30 * 86400, "day", 86400))


def ago(date: str, now: datetime | None = None) -> str:
    """A date in ISO 8601, UTC where it names no zone, as time that has passed; as it is if it is no date.

    now: None is the clock's.
    """
    try:
        then = datetime.fromisoformat(date)
    except ValueError:
        return date
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < 0:
        return then.date().isoformat()
    for limit, unit, length in _UNITS:
        if seconds < limit:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return then.date().isoformat()
