"""Offers what `import harness` gives: functions of any module, and masks for any loop."""
