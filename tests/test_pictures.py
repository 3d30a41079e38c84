"""The images that the pictures of a run show."""

import numpy as np
import pytest
from drawn_run import make_run
from hypothesis import given
from hypothesis import strategies as st

from onecycle import examples, pictures, training
from onecycle.config import Recipe
from onecycle.evaluate import Evaluation
from onecycle.interpret import most_confidently_wrong
from onecycle.report import write_report


@given(labels=st.lists(st.integers(0, 30), min_size=1, max_size=200), count=st.integers(1, 20))
def test_samples_show_as_many_classes_as_fit_and_evenly(labels, count):
    chosen = examples.over_classes(np.array(labels), count).tolist()
    assert len(set(chosen)) == len(chosen) == min(count, len(labels)) or (
        len(set(labels)) > count == len(chosen)
    )
    classes = [labels[index] for index in chosen]
    assert classes == sorted(classes)
    assert len(set(classes)) == min(count, len(set(labels)))
    for label in set(classes):
        own = [index for index in chosen if labels[index] == label]
        assert own == [index for index, other in enumerate(labels) if other == label][: len(own)]
        rest = labels.count(label) > len(own)
        assert not rest or len(own) >= max(classes.count(other) for other in set(classes)) - 1


def test_augmented_samples_show_each_of_ten_classes_and_do_not_change_the_training():
    recipe = Recipe(data="shapes", train_limit=100, test_limit=10, batch_size=50, width=0.125)
    job, _ = training.prepare(recipe)
    before = job.batches.cut(0)[0].clone()
    figure = pictures.samples(job)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {*job.batches.train.classes} <= {*said}
    again = pictures.samples(job)
    for one, other in zip(figure.axes[0].images, again.axes[0].images, strict=True):
        assert np.array_equal(one.get_array(), other.get_array())
    assert np.array_equal(before, job.batches.cut(0)[0])


@pytest.mark.parametrize(("lead", "fewer"), [(2.0, False), (5.0, True)])
def test_the_report_lists_the_misclassified_images_in_the_same_order(tmp_path, lead, fewer):
    run = make_run(tmp_path, lead=lead)
    arrays = run.load_arrays("predictions.npz")
    evaluation = Evaluation(arrays["logits"], arrays["labels"])
    ranked = most_confidently_wrong(evaluation, 60)
    assert (evaluation.predictions_N[ranked] != evaluation.labels_N[ranked]).all()
    text = write_report(run).read_text(encoding="utf-8")
    wrong = int((evaluation.predictions_N != evaluation.labels_N).sum())
    assert (1 < wrong < 20) is fewer
    if fewer:
        assert f"<h3>All {wrong} misclassified images</h3>" in text
    else:
        assert f"<h3>The 20 misclassified images with the largest loss, of {wrong}</h3>" in text
    mistakes = text[text.index('<h2 id="mistakes">') : text.index("Likely label errors")]
    places = [mistakes.find(f'aria-label="{arrays["names"][index]}"') for index in ranked]
    assert all(place > 0 for place in places)
    assert places == sorted(places)
    assert mistakes.count('class="t"') == len(ranked)


def test_a_report_without_mistakes_says_so(tmp_path):
    text = write_report(make_run(tmp_path, lead=40.0)).read_text(encoding="utf-8")
    assert "No test image is misclassified." in text
