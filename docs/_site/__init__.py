"""What the documentation site is made with, beside its pages."""
