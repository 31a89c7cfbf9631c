"""Code of the user: imported, kept from changing the process, and named where an error is its own."""
