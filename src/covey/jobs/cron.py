"""When a cron line's time comes next, in its time zone and over changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime

from covey.errors import InvalidRequestError

_FIELDS = 5


def next_time(cron: str, zone: str, after: datetime) -> datetime:
    """Return the first time after `after` that the line names, in UTC.

    As Debian's cron does it: a line with fixed hours and minutes runs once on the days on which
    the clocks change, also where its time is left out or comes twice; one with stars runs by the
    time that passes. Raises `InvalidRequestError`.
    """
    # A node without schedules does without time zones.
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    from cronsim import CronSim, CronSimError  # noqa: PLC0415

    try:
        place = ZoneInfo(zone)
    except (ValueError, KeyError, OSError) as error:
        raise InvalidRequestError(
            f"{zone!r} is not a time zone that this machine knows.",
            hint="Use a name of the tz database, such as Europe/Berlin or UTC.",
        ) from error
    if len(cron.split()) != _FIELDS:
        raise _bad_line(cron, "it needs five fields")
    try:
        times = CronSim(cron, after.astimezone(UTC if zone == "UTC" else place))
        found = next(times).astimezone(UTC)
        while found <= after:
            found = next(times).astimezone(UTC)
    except CronSimError as error:
        raise _bad_line(cron, str(error).lower()) from error
    except (StopIteration, OverflowError) as error:
        raise _bad_line(cron, "its time never comes") from error
    return found


def _bad_line(cron: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{cron!r} is not a cron line: {reason}.",
        hint="Its fields are minute, hour, day, month and weekday: 30 3 * * * is 3:30 every day.",
    )
