"""`python -m engine` and the `husai-engine` command."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from engine.cli.main import main as run

        code = run()
    except KeyboardInterrupt:  # while the imports run, before anything was started
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
