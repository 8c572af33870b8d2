"""The parts of `make bench`; scripts/bench runs them in order."""
