from pipelines.attack_curves import FIELDS, attack_curves


def rate(value: float) -> dict[str, float]:
    return {"rate": value, "low": value - 0.1, "high": value + 0.1, "n": 50}


SUMMARY = {
    "weights_sha256": "0" * 64,
    "in_context": {
        "estimates": {"in_context_k0": rate(0.1), "in_context_k8": rate(0.3), "in_context_meaningless_k8": rate(0.5)}
    },
    "relearning": {"steps": {"adamw-0.001": {"0": rate(0.1), "20": rate(0.9)}, "sgd-0.1": {"20": rate(0.2)}}},
}


def test_a_point_of_every_attack_has_its_interval() -> None:
    points = list(attack_curves("opt", "wpn", SUMMARY))
    assert [(point["attack"], point["x"], point["harmful"]) for point in points] == [
        ("examples in the context", 0, 0.1),
        ("examples in the context", 8, 0.3),
        ("steps of adamw-0.001", 0, 0.1),
        ("steps of adamw-0.001", 20, 0.9),
        ("steps of sgd-0.1", 20, 0.2),
    ]
    assert points[-1] == dict(zip(FIELDS, ("opt", "wpn", "steps of sgd-0.1", 20, 0.2, 0.1, 0.2 + 0.1), strict=True))


def test_a_probe_that_was_left_out_or_skipped_has_no_points() -> None:
    assert not list(attack_curves("opt", "wpn", {"in_context": {"skipped": "too few pairs", "seconds": 0.1}}))
