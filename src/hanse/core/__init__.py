"""The nouns of the fabric: ids, units, time, geography, work, verdicts, plans, ports.

Nothing here reads a clock, a network, a file or a random source of its own.
"""
