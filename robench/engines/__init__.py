"""Engines: who does work that falls into independent items. They know neither models nor images."""
