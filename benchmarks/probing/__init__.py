"""What kinds of features know of labelled scenes: `python -m benchmarks.probing`."""
