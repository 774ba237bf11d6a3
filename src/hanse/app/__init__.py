"""Composition root: the CLI, the HTTP API, configuration, and the processes that `hanse up` starts."""
