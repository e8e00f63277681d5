"""Opens a page in headless Chromium, over runs with numbers worked out by hand."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from survey_records import dense, make, write_run

from harness.report import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LEVELS = {2.0: 0.95, 4.0: 0.93, 8.0: 0.85}
METHODS = {"Global Magnitude": 0.0, "Random": -0.05}


def browser_path() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        if os.environ.get("HARNESS_NEEDS_CHROMIUM"):
            pytest.fail(f"HARNESS_NEEDS_CHROMIUM is set, and none of {', '.join(BROWSERS)} is here")
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}")
    return found


def write_page(runs: Path) -> Path:
    """Writes the page of two methods, three compressions and two seeds, with learning curves."""
    trained = {"examples": 10, "training_flops": 10**9, "training_flops_dense": 10**9}
    curve = {"epoch_losses": [1.0, 0.5], "epoch_validation": [0.8, 0.9]}
    for label, worse in METHODS.items():
        for asked, top1 in LEVELS.items():
            for seed in (0, 1):
                same = {"label": label, "method": label, "seed": seed, "setting": label}
                folder = runs / f"{label}#{asked:g}-{seed}"
                result = make(
                    **same, **trained,
                    **{"epoch_losses": [1.0, 1 / asked], "epoch_validation": [0.8, top1]},
                    top1=top1 + worse + 0.01 * seed, requested_compression=asked, compression=asked,
                    speedup=asked,
                )  # fmt: skip
                write_run(folder, dense(**same, **trained, **curve, top1=0.96), result)
                (folder / "config.yaml").write_text("seed: 0\n")
    return report(runs)[-1]


class Reader:
    """Holds one open page, its messages and its requests."""

    def __init__(self, browser: Any, file: Path, width: int = 1280, scheme: str = "light"):
        size = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("body[data-drawn=all]", timeout=60_000)

    def marks(self, chart: str, kind: str = "symbol") -> int:
        """Returns the visible marks of a chart: one per point, or per line."""
        where = f'[data-chart="{chart}"] .mark-{kind} path'
        return int(self.page.eval_on_selector_all(where, _COUNT))

    def has_points(self, count: int) -> None:
        """Waits until the first chart has as many."""
        from playwright.sync_api import expect

        points = self.page.locator('[data-chart="compression"] .mark-symbol path[d]')
        expect(points).to_have_count(count)


_COUNT = "paths => paths.filter(path => path.getAttribute('d')).length"
