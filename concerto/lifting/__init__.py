"""Lifting: posed images with depth → a cloud, and which of its points each image sees."""
