"""Points as people hold them, and as the encoder takes them."""
