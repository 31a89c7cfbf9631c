"""Run folders on disk.

- `kept`: a folder with a manifest that one process holds; trainings are such folders, too.
- `folder`: a run open for writing; `run` and `frames`: runs as they are read.
- `reading`, `journal`: their files; `adversarials`, `gallery`: tensors beside the records.
- `shapes`: what a manifest holds; `environment`: with what something was made.
"""
