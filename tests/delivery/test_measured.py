"""Tests what scripts/benchmark measures of deliveries, on small networks."""

import pytest
from benchmarks import delivery, sparse
from benchmarks.figure import Figure, Note


def test_sparse_layers_are_timed_beside_dense_ones_and_dense_beside_themselves() -> None:
    rows = {row.name: row for row in sparse.figures(2, quick=True)}
    for zeros in (50, 80, 90, 95):
        for other, side in (("CSR", "CSR"), ("dense (noise)", "dense again")):
            figure = rows[f"sparse: {zeros} % zeros, dense / {other}"]
            assert isinstance(figure, Figure)
            assert {name: len(times) for name, times in figure.seconds.items()} == {
                "dense": 2, side: 2,
            }  # fmt: skip
    last = [row for name, row in rows.items() if name.startswith("sparse: 2:4 in float16")]
    assert len(last) == 2 or (isinstance(last[0], Note) and last[0].text.startswith("not measured"))


def test_half_of_a_network_is_read_beside_itself_and_exported() -> None:
    read, noise, beside, *exported = delivery.figures(1, quick=True)
    assert read.name == "delivery: half of ResNet-50 read" and read.at_most == 1.0
    assert noise.name == "delivery: reader / itself (noise)" and "harness" in beside.seconds
    assert [row.name.split()[1] for row in exported] == ["onnx,", "torch_export,"]
    assert exported[1].at_most == pytest.approx(100)  # millionths
    assert 0 <= exported[1].median < 100
