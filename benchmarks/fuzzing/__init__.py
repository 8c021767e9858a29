"""The parts of `fuzz.py`: seeds, mutations, the runs of one mutant, and the process they happen in."""
