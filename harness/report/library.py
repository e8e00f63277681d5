"""The charts' library, Vega-Lite, as one script for the page: `python -m harness.report.library`.

It is bundled by a process of its own, beside other work: that takes a second and would hold this
interpreter's lock.
"""

import subprocess
import sys


def begun() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness.report.library"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")


def text(bundling: "subprocess.Popen[str]") -> str:
    """
    Raises:
        OSError: the bundle could not be made; the process has said why.
    """
    found, _ = bundling.communicate()
    if bundling.returncode or not found:
        raise OSError(
            "vl-convert could not bundle Vega-Lite for report.html (see above); reinstall it with "
            "pip install --force-reinstall vl-convert-python"
        )
    return found


if __name__ == "__main__":
    import vl_convert

    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(vl_convert.javascript_bundle())  # type: ignore[call-arg]
