"""report.html: one self-contained page with interactive figures and tables.

document.py puts it together from tables (numbers.py, heat.py) and from plain data (points.py,
details.py) that charts.js draws as charts.py says and tables.js shows.
"""
