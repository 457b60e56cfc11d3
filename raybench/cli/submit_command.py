"""`raybench submit`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from raybench.cli.jobs_command import address_option, allow_option, follow, open_jobs
from raybench.core.config import RunConfig
from raybench.core.config_file import load
from raybench.core.errors import ConfigError
from raybench.launch import slurm
from raybench.launch.job import JobRequest
from raybench.launch.upload import split_environment, stage
from raybench.store.objects import is_uri

_RAY_ONLY = ("working_dir", "exclude", "pip", "image")
_SLURM_ONLY = ("nodes", "gpus_per_node", "cpus_per_node", "time", "sbatch", "setup", "dry_run")


@click.command("submit")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--via", type=click.Choice(["ray", "slurm"]), required=True, help="ray: the Jobs API of a cluster; slurm: sbatch.")
@address_option(required=False)
@allow_option
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE", help="Override a field: engine.dtype=bfloat16, tasks.0.shots=5.")
@click.option("--limit", type=int, help="Only the first n samples of every task.")
@click.option(
    "--output",
    help="Run directory, on the cluster, or s3://bucket/folder and the like (ray); by default below ~/raybench for ray, runs/<name> for slurm.",
)
@click.option("--retries", type=click.IntRange(0, 100), default=0, help="Further tries after exit codes 1 and 3; never after 2 and 4.")
@click.option(
    "--env", multiple=True, metavar="NAME[=VALUE]", help="NAME must be set on the cluster; NAME=VALUE travels, readable, so no secrets."
)
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@click.option("--working-dir", type=click.Path(path_type=Path), help="ray: a folder that travels along: tasks, small data.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="ray: names or paths of that folder that stay here.")
@click.option(
    "--pip", multiple=True, metavar="REQUIREMENT", help="ray: installed for the job on every node; better is an image that has it."
)
@click.option("--image", help="ray: container image of the job and its engines.")
@click.option("--nodes", type=click.IntRange(1), help="slurm: nodes; 1 by default.")
@click.option("--gpus-per-node", type=click.IntRange(0), help="slurm: GPUs of a node; 0 by default.")
@click.option("--cpus-per-node", type=click.IntRange(1), help="slurm: CPUs of a node; 4 by default.")
@click.option(
    "--time", metavar="[D-]HH:MM:SS", help="slurm: time limit; the run ends cleanly before it and is requeued. 01:00:00 by default."
)
@click.option("--sbatch", multiple=True, metavar="OPTION", help="slurm: further options: --sbatch=--partition=gpu --sbatch=--account=x.")
@click.option("--setup", multiple=True, metavar="LINE", help="slurm: shell lines before anything runs, such as 'module load cuda'.")
@click.option("--dry-run", is_flag=True, help="slurm: print the script, and submit nothing.")
def command(config: Path, via: str, **given: Any) -> int:
    """Run a configuration on a cluster: the driver runs there too, and the same command resumes.

    \b
    raybench submit configs/quickstart.yaml --via ray --address http://head:8265
    raybench submit configs/quickstart.yaml --via ray --address http://head:8265 --working-dir . --retries 2 --detach
    raybench submit configs/quickstart.yaml --via slurm --nodes 2 --gpus-per-node 8 --time 04:00:00

    Ends with the driver's own exit code. Ctrl-C leaves the job running.
    """
    foreign = [name for name in (_SLURM_ONLY if via == "ray" else (*_RAY_ONLY, "address", "allow_no_token")) if given[name]]
    if via == "slurm" and given["address"] and "address" in foreign and _from_environment("address"):
        foreign.remove("address")
    if foreign:
        raise click.UsageError(f"--{', --'.join(n.replace('_', '-') for n in foreign)}: not with --via {via}.")
    settings = [*given["settings"], *([] if given["limit"] is None else [f"limit={given['limit']}"])]
    run = load(config, [*settings, "ray.address=auto"])  # a cluster there will be; the job's command line says where
    if run.pool == "local":
        raise ConfigError(
            f"{config}: pool: 'local' cannot be submitted: engines live on the cluster. Leave `pool` out, or use raybench run."
        )
    return _ray(run, given) if via == "ray" else _slurm(run, given)


def _from_environment(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT


def _ray(run: RunConfig, given: dict[str, Any]) -> int:
    if not given["address"]:
        raise click.UsageError("--via ray needs --address, the dashboard of the cluster: http://head:8265.")
    require, plain = split_environment(given["env"])
    output = given["output"] or run.output or f"runs/{run.name}"
    if not output.startswith(("/", "~")) and not is_uri(output):  # a job begins in a folder that is thrown away
        output = f"~/raybench/{output}"
    jobs = open_jobs(given["address"], allow_no_token=given["allow_no_token"])
    with tempfile.TemporaryDirectory(prefix="raybench-submit-") as folder:
        upload = stage(Path(folder), _as_text(run), source=given["working_dir"], excludes=given["exclude"])
        click.echo(f"uploading {upload.describe()}", err=True)
        request = JobRequest(
            name=run.name, output=output, folder=upload.folder, retries=given["retries"], require=require, environment=plain,
            pip=given["pip"], image=given["image"],
        )  # fmt: skip
        job_id = jobs.submit(request)
    where = "" if is_uri(output) else " on the node that runs the driver"
    click.echo(f"job {job_id}; its run directory is {output}{where}", err=True)
    if given["detach"]:
        click.echo(job_id)
        return 0
    return follow(jobs, job_id, given["address"])


def _slurm(run: RunConfig, given: dict[str, Any]) -> int:
    require, plain = split_environment(given["env"])
    name = given["output"] or run.output or f"runs/{run.name}"
    if is_uri(name):
        raise ConfigError(
            f"--output {name}: with slurm, script, token and log lie beside the run directory; expected a folder that all nodes share."
        )
    output = Path(name).expanduser().absolute()
    allocation = slurm.Allocation(
        nodes=given["nodes"] or 1, gpus_per_node=given["gpus_per_node"] or 0, cpus_per_node=given["cpus_per_node"] or 4,
        time_limit=given["time"] or "01:00:00", options=given["sbatch"], setup=given["setup"],
    )  # fmt: skip
    request = slurm.SlurmRequest(
        name=run.name, output=output, allocation=allocation, retries=given["retries"], require=require, plain=plain
    )
    if given["dry_run"]:
        click.echo(slurm.render(request), nl=False)
        return 0
    job = slurm.submit(request, _as_text(run))
    click.echo(f"Slurm job {job.id}: {job.folder / slurm.LOG} (end it with: scancel {job.id})", err=True)
    if given["detach"]:
        click.echo(job.id)
        return 0
    try:
        return slurm.follow(job, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(f"\nraybench: the job {job.id} goes on; end it with `scancel {job.id}`.", err=True)
        return 130


def _as_text(run: RunConfig) -> str:
    text: str = yaml.safe_dump(run.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True)
    return text
