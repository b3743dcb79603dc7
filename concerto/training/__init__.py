"""Training: what makes the weights that `concerto` runs. Each trainer is a module to launch."""
