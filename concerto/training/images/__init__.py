"""Frozen image encoders, whose features are learnt from."""
