"""What Python programs use without a server: detectors for lines and for numbers, and estimators.

The public names are those of the package `driftlock` itself, which loads them when they are first asked for.
"""
