"""Classes from features: the task, what is trained of a model, and what is left of a run."""
