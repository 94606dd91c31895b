"""What is told to who sends a delivery that proves itself to no webhook."""

from __future__ import annotations

from covey.errors import UnauthenticatedError


def unproven() -> UnauthenticatedError:
    """Return the one answer to wrong secrets, unknown webhooks, and a node without any."""
    return UnauthenticatedError(
        "The delivery does not prove itself: there is no webhook here with this secret.",
        hint="Compare the secret and the address with those that covey webhooks create gave.",
    )
