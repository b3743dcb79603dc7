"""Data sets of labelled rooms, from their own downloads. One a file."""
