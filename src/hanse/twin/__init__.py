"""The fabric with another clock and other wires: a deterministic world for the same controllers and nodes.

Never imports `hanse.adapters`. What it shows says nothing about the engine's memory, the kernel or TLS.
"""
