"""What compiled code would misread is no view."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.scheduling.view import NUMBERS, RequestView
from unit.scheduling_views import requests

NUMBERS_OF_THREE = requests(3).numbers


@pytest.mark.parametrize(
    "numbers",
    [
        np.asfortranarray(NUMBERS_OF_THREE),
        NUMBERS_OF_THREE[:, ::2],
        NUMBERS_OF_THREE[1:],
        np.zeros(NUMBERS_OF_THREE.shape, dtype=np.int64),
        np.zeros(NUMBERS),
    ],
    ids=["by columns", "with gaps", "a property too few", "whole numbers", "one axis"],
)
def test_an_array_of_another_layout_is_refused(numbers: np.ndarray) -> None:
    with pytest.raises(TypeError, match="C-contiguous float64"):
        RequestView(numbers)
