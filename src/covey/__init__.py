"""Covey: the machines you own, as one private cloud."""
