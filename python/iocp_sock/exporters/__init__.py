"""Exporters of a port's figures to other programs; each needs its own optional dependency."""
