"""The ports in memory, with NATS's manners: they pass the same contract suite as the real ones."""
