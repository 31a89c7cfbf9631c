"""Run folders: the manifest, the journal of records, and the adversarial examples."""
