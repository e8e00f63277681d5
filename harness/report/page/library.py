"""The charts' library, Vega-Lite, as one script for the page."""

from functools import cache


@cache
def library() -> str:
    """Takes a second, in which the interpreter's lock is held.

    Raises:
        OSError: vl-convert is not there or does not work.
    """
    try:
        import vl_convert

        return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]
    except Exception as error:
        raise OSError(
            f"vl-convert could not bundle Vega-Lite for report.html ({error}); reinstall it with "
            "pip install --force-reinstall vl-convert-python"
        ) from error
