"""Covey: the machines you own, as one private cloud."""

__version__ = "0.1.0"
