"""hanse: a sovereign cloud-to-edge compute fabric."""

__version__ = "0.1.0"
