"""From the files of an inventory to the model: read, validate, lower."""
