"""Arrays of SLURM: a script that does one command in shards, one task a shard, and sbatch to hand it over."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robench.errors import RunError, SpecError


@dataclass(frozen=True, kw_only=True)
class Array:
    """An array job.

    Fields:
        command: of robench, without `--shard` and `--threads`.
        tasks: how many, each of one shard.
        threads: CPU threads of a task.
        out: folder of the shards, and of what the tasks print.
        options: further ones of sbatch, such as `--time=1:00:00`.
    """

    command: Sequence[str]
    tasks: int
    threads: int
    out: Path
    options: Sequence[str] = ()

    def script(self) -> str:
        """The script for sbatch. A task that is killed goes on when it is put into the queue again."""
        own = [
            f"--job-name=robench-{self.command[0]}",
            f"--array=1-{self.tasks}",
            f"--cpus-per-task={self.threads}",
            "--requeue",
            f"--output={self.out}/%A-%a.log",
        ]
        words = shlex.join([sys.executable, "-m", "robench", *self.command])
        lines = [f"#SBATCH {option}" for option in [*own, *self.options]]
        return "\n".join(
            [
                "#!/bin/bash",
                *lines,
                f"export OMP_NUM_THREADS={self.threads}",
                f'exec {words} --threads {self.threads} --shard "$SLURM_ARRAY_TASK_ID/{self.tasks}"',
                "",
            ]
        )


def merging_script(out: Path, run: Path) -> str:
    """The script that joins the shards of an array.

    Args:
        out: folder of the shards.
        run: of the whole run.
    """
    words = shlex.join([sys.executable, "-m", "robench", "merge", str(out), "--out", str(run)])
    return f"#!/bin/bash\n#SBATCH --job-name=robench-merge\n#SBATCH --output={out}/merge-%j.log\nexec {words}\n"


def submit(script: str, *, after: str | None = None) -> str:
    """Hand a script to sbatch; the number of the job.

    Args:
        script: the text.
        after: a job all of whose tasks must have ended well.

    Raises:
        SpecError: there is no sbatch here.
        RunError: it refuses the job.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise SpecError(
            "there is no `sbatch` here", hint="leave out --submit, and hand the script to sbatch on the cluster"
        )
    waits = [] if after is None else [f"--dependency=afterok:{after}"]
    done = subprocess.run([sbatch, "--parsable", *waits], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"sbatch refuses the job: {done.stderr.strip()}", hint="see its options: --sbatch OPTION")
    return done.stdout.strip().split(";")[0]
