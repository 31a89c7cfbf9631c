"""Model folders and tensor files on disk."""
