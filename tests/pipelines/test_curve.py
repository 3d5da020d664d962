from pipelines.curve import rectangular


def test_a_number_that_begins_late_has_a_place_in_every_row() -> None:
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "foreseen": 3.0, "loss": 1.0}]
    assert rectangular(rows) == [
        {"step": 1, "loss": 2.0, "foreseen": None},
        {"step": 2, "loss": 1.0, "foreseen": 3.0},
    ]
    assert rectangular([]) == []
