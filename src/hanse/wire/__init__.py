"""What travels: messages, subjects, canonical bytes and signed envelopes."""
