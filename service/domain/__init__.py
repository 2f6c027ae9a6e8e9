"""The pure domain: what happens next, decided from what happened. No I/O, no clock, no randomness."""
