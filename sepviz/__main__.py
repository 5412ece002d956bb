"""``python -m sepviz``: the same as ``sepviz``."""

import sys

from sepviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
