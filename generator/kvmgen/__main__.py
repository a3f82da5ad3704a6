"""``python -m kvmgen``."""

from kvmgen.cli import main

if __name__ == "__main__":
    main()
