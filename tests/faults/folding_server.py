"""``benchwire`` that leaves battery readings to files after tens of them, and not after thousands.

Only then are rows that were acknowledged deleted from the database, and files that hold them.
"""

from benchwire import cli
from benchwire.domains.battery import archive

FOLD_ROWS, KEPT_ROWS, MOST_SEGMENTS = 20, 10, 3

if __name__ == "__main__":
    defaults = archive.Archive.__init__.__kwdefaults__
    assert defaults is not None
    defaults["fold_rows"] = FOLD_ROWS
    archive.KEPT_ROWS = KEPT_ROWS
    archive.MOST_SEGMENTS = MOST_SEGMENTS
    cli.main()
