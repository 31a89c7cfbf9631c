"""A user's model from a file, a factory or memory, with blame for what fails in it."""
