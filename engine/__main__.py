"""`python -m engine` and the `husai-engine` command."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from engine import cli

    sys.exit(cli.main())


if __name__ == "__main__":
    main()
