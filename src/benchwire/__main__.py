"""``python -m benchwire``."""

from benchwire.cli import main

if __name__ == "__main__":
    main()
