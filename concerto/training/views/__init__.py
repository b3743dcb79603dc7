"""Scenes → what a network is shown of them."""
