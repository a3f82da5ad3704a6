"""The site as typed, frozen values: what the checks and the renderers read."""
