"""The engine beside `wasmtime serve` and `workerd`: `python -m benches.engine --json`."""
