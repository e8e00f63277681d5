"""Builds the check boxes that show and hide methods, with their lines and markers."""

from html import escape

from harness.report.figures.styles import LineStyle


def legend(
    title: str,
    styles: dict[str, LineStyle],
    note: str,
    published: dict[str, LineStyle] | None = None,
) -> str:
    """Returns the legend, which shows and hides methods in all figures and tables of a section."""
    boxes = "".join(_box(label, _glyph(look)) for label, look in styles.items())
    boxes += "".join(_box(label, _hollow(look)) for label, look in (published or {}).items())
    # A tall legend does not stay in view, because it would cover the charts.
    stays = " stays" if len(styles) + len(published or ()) <= 12 else ""
    return (
        f'<fieldset class="legend{stays}"><legend>{title}</legend>'
        '<label>Filter <input type="search" class="find" placeholder="name"></label>'
        '<button type="button" data-check="all">All</button>'
        '<button type="button" data-check="none">None</button>'
        f'<div class="boxes">{boxes}</div>'
        f"<p>{note}</p></fieldset>"
    )


def _box(label: str, drawn: str) -> str:
    return (
        f'<label><input type="checkbox" checked value="{escape(label)}">{drawn}'
        f"<span>{escape(label)}</span></label>"
    )


def _hollow(look: LineStyle) -> str:
    return (
        f'<svg viewBox="-18 -6 36 12" aria-hidden="true"><path d="{look.marker[1]}" '
        f'transform="scale(5)" fill="none" stroke="{look.colour}" stroke-width=".3"/></svg>'
    )


def _glyph(look: LineStyle) -> str:
    dash = f' stroke-dasharray="{" ".join(map(str, look.dash))}"' if look.dash else ""
    return (
        f'<svg viewBox="-18 -6 36 12" aria-hidden="true"><path d="M-18,0H18" stroke="{look.colour}"'
        f' stroke-width="2"{dash}/><path d="{look.marker[1]}" transform="scale(5)" '
        f'fill="{look.colour}"/></svg>'
    )
