"""The names of apps and of what they are made of; an app's name is also a label of host names."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from covey.apps.config.model import APP_NAME_PATTERN
from covey.errors import InvalidRequestError

MAX_APP_NAME = 48

AppName = Annotated[
    str,
    Meta(
        pattern=rf"^{APP_NAME_PATTERN}(?!\n)$",
        description="The app's name: a-z, 0-9 and '-', a letter first.",
    ),
]
ProcessName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?(?!\n)$",
        description="A process of the app, such as web or worker.",
    ),
]
CommandName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?(?!\n)$",
        description="A scheduled command of the app, such as nightly-report.",
    ),
]


def check_app_name(text: str) -> str:
    """Return the name; raises `InvalidRequestError` for one that no app can have."""
    if re.fullmatch(APP_NAME_PATTERN, text) is None:
        raise InvalidRequestError(
            f"{text[:80]!r} is not a name for an app.",
            hint=f"Use at most {MAX_APP_NAME} of a-z, 0-9 and '-', a letter first.",
        )
    return text
