"""Training: what makes the weights that `concerto` runs. Each trainer is a module to launch.

Bottom up: `scenes`, their `views` and `images`; `run`, which trains anything, and `scores`; then
`pretraining`, `finetuning` and `translation`, each with a task for a run; on top the commands.
`prepare` makes scenes, `recipes` hold the values of published runs.
"""
