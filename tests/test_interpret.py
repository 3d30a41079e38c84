"""Rankings against plain sorting of plain lists."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onecycle.evaluate import Evaluation
from onecycle.interpret import most_confidently_wrong, top_losses

# A few whole numbers, so that many images have the same logits and are ranked by their index.
logits = st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=40)


@given(rows=logits, data=st.data(), count=st.integers(0, 45))
def test_rankings_are_plain_sorts_with_ties_by_index(rows, data, count):
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    evaluation = Evaluation(np.array(rows, np.float32), np.array(labels))
    wrong = [i for i, row in enumerate(rows) if row.index(max(row)) != labels[i]]
    confidence, losses = evaluation.confidence_N.tolist(), evaluation.losses_N.tolist()
    expected = sorted(wrong, key=lambda i: (-confidence[i], i))[:count]
    found = most_confidently_wrong(evaluation, count)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    expected = sorted(range(len(rows)), key=lambda i: (-losses[i], i))[:count]
    assert top_losses(evaluation, count).tolist() == expected


def test_confidence_is_that_in_the_wrong_class():
    """Not the loss: image 1 is surer of a wrong class, image 2 gives the actual one less."""
    probabilities = np.array([[0.9, 0.05, 0.05], [0.8, 0.15, 0.05], [0.50, 0.49, 0.01]])
    evaluation = Evaluation(np.log(probabilities).astype(np.float32), np.array([0, 1, 2]))
    assert most_confidently_wrong(evaluation).tolist() == [1, 2]
    assert top_losses(evaluation).tolist() == [2, 1, 0]


def test_twenty_by_default():
    rng = np.random.default_rng(0)
    evaluation = Evaluation(rng.normal(0, 3, (500, 10)).astype(np.float32), np.zeros(500, int))
    found = most_confidently_wrong(evaluation)
    assert len(found) == len(top_losses(evaluation)) == 20
    left_out = np.setdiff1d(np.flatnonzero(evaluation.predictions_N != 0), found)
    assert evaluation.confidence_N[found].min() >= evaluation.confidence_N[left_out].max()


def test_nothing_wrong_gives_nothing():
    evaluation = Evaluation(np.eye(3, dtype=np.float32), np.arange(3))
    assert most_confidently_wrong(evaluation).tolist() == []
