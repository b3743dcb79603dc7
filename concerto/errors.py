"""The errors a user can meet. Each message says what was given, what is wanted, and what to do."""


class ConcertoError(Exception):
    """Base of every error that this library raises on purpose."""


class InputError(ConcertoError, ValueError):
    """The points, or an argument that goes with them, cannot be used as given."""


class ConfigError(ConcertoError, ValueError):
    """A configuration names something that no Concerto encoder has."""


class CheckpointError(ConcertoError):
    """A file of weights is damaged, unsafe, or not what the model needs."""


class HubError(ConcertoError):
    """A name does not lead to its file: unknown, unreachable, private, changed, not published."""


class TrainingError(ConcertoError):
    """Training cannot go on: its losses are no numbers, its data have run dry, or a process that
    prepares them was killed."""


class MissingExtraError(ConcertoError, ImportError):
    """An optional dependency is needed and absent; the message names the extra that brings it."""


class ConcertoWarning(UserWarning):
    """Something was assumed or ignored that the user may want to know."""
