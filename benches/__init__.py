"""Benchmarks: each prints one JSON line last; `benches.render` turns such lines into tables for the docs."""
