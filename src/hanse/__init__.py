"""hanse: a sovereign cloud-to-edge compute fabric."""
