"""Scenes to train on: samples, where they lie, and how they are read."""
