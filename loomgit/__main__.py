"""`python -m loomgit` is the `loom` command."""

from loomgit.cli import main

if __name__ == "__main__":
    main()
