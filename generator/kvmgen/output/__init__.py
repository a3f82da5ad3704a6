"""The tree of generated files: what it holds, what it should hold, and how it becomes that."""
