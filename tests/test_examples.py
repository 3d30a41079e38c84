"""Which images a report keeps: every cell its share, in the order shown, never too many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onecycle.evaluate import Evaluation
from onecycle.examples import PER_CELL, TILE, images_of_cells, ranked_in_cells, thumbnails


def evaluation(count: int, classes: int, seed: int) -> Evaluation:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes)).astype(np.float32)
    return Evaluation(logits, rng.integers(0, classes, count))


@given(
    count=st.integers(1, 400), classes=st.integers(2, 5), most=st.integers(1, 300),
    seed=st.integers(0, 50),
)  # fmt: skip
def test_every_cell_gets_its_share(count, classes, most, seed):
    given_ = evaluation(count, classes, seed)
    kept = images_of_cells(given_, most).tolist()
    assert kept == sorted(set(kept))
    cells: dict[tuple[int, int], list[int]] = {}
    for index, pair in enumerate(zip(given_.labels_N, given_.predictions_N, strict=True)):
        cells.setdefault(pair, []).append(index)
    shown = {cell: [i for i in members if i in kept] for cell, members in cells.items()}
    wanted = {cell: min(PER_CELL, len(members)) for cell, members in cells.items()}
    assert len(kept) == min(most, sum(wanted.values()))
    least = min(len(shown[c]) for c in cells if len(shown[c]) < wanted[c]) if (
        any(len(shown[c]) < wanted[c] for c in cells)
    ) else PER_CELL  # fmt: skip
    assert all(len(shown[c]) <= least + 1 for c in cells)  # none gets far ahead of another
    confidence = given_.confidence_N
    for (label, predicted), members in cells.items():
        sign = 1 if label == predicted else -1
        ranked = sorted(members, key=lambda i: (sign * confidence[i], i))
        assert set(shown[label, predicted]) == set(ranked[: len(shown[label, predicted])])


def test_the_largest_cells_come_first():
    given_ = evaluation(300, 6, 1)
    cell_N = given_.labels_N * 6 + given_.predictions_N
    cells, sizes = np.unique(cell_N, return_counts=True)
    most = len(cells) // 2
    kept = cell_N[images_of_cells(given_, most)]
    assert len(set(kept)) == most  # one image each
    assert sizes[np.isin(cells, kept)].min() >= sizes[~np.isin(cells, kept)].max()


def test_places_in_a_cell_count_from_zero():
    given_ = evaluation(300, 3, 0)
    order, rank_N = ranked_in_cells(given_)
    cell_N = given_.labels_N * 3 + given_.predictions_N
    for cell in np.unique(cell_N):
        members = [index for index in order if cell_N[index] == cell]
        assert rank_N[members].tolist() == list(range(len(members)))


def test_thumbnails_keep_small_images_and_shrink_large_ones():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 32, 20, 3), dtype=np.uint8)
    assert np.array_equal(thumbnails(small), small)
    large = rng.integers(0, 256, (2, 100, 256, 1), dtype=np.uint8)
    found = thumbnails(large)
    assert found.shape == (2, 25, TILE, 1)
    means = large.reshape(2, 25, 4, 64, 4).mean((2, 4))
    assert np.abs(found[..., 0] - means).max() <= 1
    assert thumbnails(large[:0]).shape == (0, 25, TILE, 1)
