"""Language-conditioned manipulation learned from demonstrations with a generalizable neural feature field."""

__version__ = "0.1.0"
