"""How long a build takes, beside what a team would write instead: ``python -m tests.bench``."""
