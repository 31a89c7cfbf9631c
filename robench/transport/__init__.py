"""The optimal transport problem behind the hKR loss."""
