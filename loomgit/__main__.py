"""`python -m loomgit` is the `loom` command."""

from loomgit_command import main

if __name__ == "__main__":
    main()
