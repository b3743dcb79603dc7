"""Pictures of clouds and of their features."""
