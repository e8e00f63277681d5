"""python -m harness.sensitivity [KEY=VALUE ...]; the keys are those of python -m harness."""

from harness.__main__ import main

if __name__ == "__main__":
    main("analyse")
