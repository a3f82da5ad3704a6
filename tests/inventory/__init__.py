"""From inventory files to the model."""
