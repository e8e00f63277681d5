"""Bundles Vega-Lite, the library of the charts, as one script for the page."""

from functools import cache


@cache
def library() -> str:
    """Returns the code of Vega-Lite; takes a second, during which it holds the GIL.

    Raises:
        OSError: vl-convert is missing or does not work.
    """
    try:
        import vl_convert

        return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]
    except Exception as error:
        raise OSError(
            f"vl-convert could not bundle Vega-Lite for report.html ({error}); reinstall it with "
            "pip install --force-reinstall vl-convert-python"
        ) from error
