"""Rankings against plain sorting of plain lists."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onecycle.evaluate import Evaluation
from onecycle.interpret import most_confidently_wrong

# A few whole numbers, so that many images have the same logits and are ranked by their index.
logits = st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=40)


@given(rows=logits, data=st.data(), count=st.integers(0, 45))
def test_rankings_are_plain_sorts_with_ties_by_index(rows, data, count):
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    evaluation = Evaluation(np.array(rows, np.float32), np.array(labels))
    wrong = [i for i, row in enumerate(rows) if row.index(max(row)) != labels[i]]
    losses = evaluation.losses_N.tolist()
    expected = sorted(wrong, key=lambda i: (-losses[i], i))[:count]
    found = most_confidently_wrong(evaluation, count)
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_the_ranking_is_by_the_probability_of_the_actual_class():
    """Image 1 has the higher confidence in a wrong class, image 2 the lower one in its own."""
    probabilities = np.array([[0.9, 0.05, 0.05], [0.8, 0.15, 0.05], [0.50, 0.49, 0.01]])
    evaluation = Evaluation(np.log(probabilities).astype(np.float32), np.array([0, 1, 2]))
    assert most_confidently_wrong(evaluation).tolist() == [2, 1]


def test_a_correctly_classified_image_is_never_listed_whatever_its_loss():
    """With 12 equally probable classes, the first is predicted: correct, with a loss of 2.5."""
    logits_NK = np.zeros((3, 12), np.float32)
    logits_NK[1:, 5] = 0.01
    evaluation = Evaluation(logits_NK, np.array([0, 5, 4]))
    assert evaluation.losses_N[0] > evaluation.losses_N[1]
    assert most_confidently_wrong(evaluation).tolist() == [2]


def test_twenty_by_default():
    rng = np.random.default_rng(0)
    evaluation = Evaluation(rng.normal(0, 3, (500, 10)).astype(np.float32), np.zeros(500, int))
    found = most_confidently_wrong(evaluation)
    assert len(found) == 20
    left_out = np.setdiff1d(np.flatnonzero(evaluation.predictions_N != 0), found)
    assert evaluation.losses_N[found].min() >= evaluation.losses_N[left_out].max()


def test_without_mistakes_nothing_is_listed():
    evaluation = Evaluation(np.eye(3, dtype=np.float32), np.arange(3))
    assert most_confidently_wrong(evaluation).tolist() == []
