"""`python -m tests.fuzz --minutes 10`: every property of this folder on fresh input, over all cores, and what was found."""

import sys

from tests.fuzz.length import main

if __name__ == "__main__":
    sys.exit(main())
