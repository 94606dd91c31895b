"""Hypothesis without deadlines: a loaded machine is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("covey", deadline=None)
settings.load_profile("covey")
