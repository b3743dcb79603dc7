"""Data sets to train on: `python -m concerto.training.prepare`. One kind of source a file."""
