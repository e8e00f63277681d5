"""The charts' library, Vega-Lite, as one script for the page.

It is bundled by a process of its own, beside other work: that takes a second and would hold this
interpreter's lock.
"""

import subprocess
import sys
from functools import cache, cached_property


@cache
def library() -> "Library":
    """Begins the bundling, once per process."""
    return Library()


class Library:
    def __init__(self) -> None:
        command = [sys.executable, "-m", "harness.report.page.library"]
        self._bundling = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    @cached_property
    def text(self) -> str:
        """
        Raises:
            OSError: the bundle could not be made; the process has said why.
        """
        found, _ = self._bundling.communicate()
        if self._bundling.returncode or not found:
            library.cache_clear()
            raise OSError(
                "vl-convert could not bundle Vega-Lite for report.html (see above); reinstall it "
                "with pip install --force-reinstall vl-convert-python"
            )
        return found


if __name__ == "__main__":
    import vl_convert

    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(vl_convert.javascript_bundle())  # type: ignore[call-arg]
