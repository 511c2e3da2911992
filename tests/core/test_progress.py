import pytest

from napari_sam3.core.progress import drain


def counting(closed, to=3):
    try:
        yield from range(to)
    finally:
        closed.append(True)
    return "done"


def test_a_workflow_is_run_to_its_end_and_its_result_returned():
    seen = []
    assert drain(counting([]), seen.append) == "done"
    assert seen == [0, 1, 2]
    assert drain(counting([], to=0)) == "done"


def test_what_goes_wrong_in_a_workflow_is_raised():
    def broken():
        yield 1
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        drain(broken())


def test_a_workflow_is_closed_where_it_cannot_be_told_how_far_it_is():
    def interrupted(_):
        raise KeyboardInterrupt

    closed = []
    steps = counting(closed)
    with pytest.raises(KeyboardInterrupt):
        drain(steps, interrupted)
    assert closed == [True]
