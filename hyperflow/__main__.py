"""`python -m hyperflow` is the command line."""

from hyperflow.cli import main

if __name__ == "__main__":
    main()
