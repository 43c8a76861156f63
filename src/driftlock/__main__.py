"""`python -m driftlock` is `driftlock`."""

from driftlock.cli.main import main

if __name__ == "__main__":
    main()
