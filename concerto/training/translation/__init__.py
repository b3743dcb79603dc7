"""A map from features to the space of texts: what it is fitted to, and how."""
