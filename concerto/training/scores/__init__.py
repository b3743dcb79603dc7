"""How well classes are told apart, and whom that is told."""
