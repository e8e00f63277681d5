"""Builds report.html: one self-contained page with interactive figures and tables.

document.py combines tables (numbers.py, heat.py) and plain data (chart_rows.py, run_details.py).
charts.js draws the data as specified by charts.py, and tables.js shows it in tables.
"""
