"""Procedural rooms: an endless, seeded source of furnished indoor scenes with labels."""
