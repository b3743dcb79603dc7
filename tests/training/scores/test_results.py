import numpy as np

from concerto.training.scores.confusion import Confusion
from concerto.training.scores.results import markdown


def test_names_of_classes_stay_in_their_cells() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([0, 1]), np.array([0, 1]))
    table = markdown(["wall|door", "a\nb"], confusion.scores(), "two points")
    assert "\n| wall\\|door | 100.0 | 100.0 | 1 |\n| a b | 100.0 | 100.0 | 1 |\n" in table
