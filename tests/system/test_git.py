"""The commit that records and plans of a checkout name."""

import subprocess

import pytest
from conftest import CONF

from harness.system.git import commit

CHECKOUT = CONF.parent


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="installed without its repository")
def test_the_commit_is_that_of_the_checkout() -> None:
    head = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    full = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    described = commit()
    assert described is not None
    assert full.startswith(described.removesuffix("-dirty"))
