"""`raybench jobs`: what was submitted to a Ray cluster."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from raybench.launch.archive import RESULTS, unpack
from raybench.launch.job import Job
from raybench.launch.ray_job import RayJobs
from raybench.store.objects import is_uri
from raybench.store.run_dir import RunDir

Function = Callable[..., Any]


def address_option(*, required: bool = True) -> Callable[[Function], Function]:
    """`--address`, also from RAY_API_SERVER_ADDRESS, which Ray's own commands read."""
    text = "http(s) address of the cluster's dashboard, such as http://head:8265; by default RAY_API_SERVER_ADDRESS."
    return click.option("--address", envvar="RAY_API_SERVER_ADDRESS", required=required, help=text)


allow_option = click.option("--allow-no-token", is_flag=True, help="Consent to a cluster on the network without a token.")


def open_jobs(address: str, *, allow_no_token: bool) -> RayJobs:
    """The jobs of a cluster; warns where the token crosses a network readable."""
    jobs = RayJobs(address, allow_no_token=allow_no_token)
    if jobs.is_readable_on_the_way:
        click.echo(f"raybench: {address} is plain http: whoever is on the way reads the token. Use https or an ssh tunnel.", err=True)
    return jobs


def follow(jobs: RayJobs, job_id: str, address: str) -> int:
    """Show a job until it ends; its driver's exit code. Ctrl-C leaves it running."""

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        job = jobs.follow(job_id, write, note=lambda text: click.echo(f"raybench: {text}", err=True))
    except KeyboardInterrupt:
        click.echo(
            f"\nraybench: the job goes on. Watch: raybench jobs logs {job_id} --address {address}; end: raybench jobs cancel {job_id}",
            err=True,
        )
        return 130
    return _close(job, address)


def _close(job: Job, address: str) -> int:
    code = job.exit_code
    if job.driver_exit_code is None and job.status != "SUCCEEDED" and job.message:
        click.echo(f"raybench: {' '.join(job.message.split())[:500]}", err=True)
    click.echo(f"{job.id}: {job.status}, exit code {code}", err=True)
    if code == 3:
        click.echo("raybench: incomplete; the same command resumes", err=True)
    elif code in (0, 4):
        click.echo(f"results: raybench jobs fetch {job.id} --address {address}", err=True)
    return code


@click.group("jobs")
def command() -> None:
    """List, show, follow, cancel or fetch what was submitted to a Ray cluster.

    \b
    raybench jobs list --address http://head:8265
    raybench jobs logs raybench-quickstart --address http://head:8265
    raybench jobs fetch raybench-quickstart --address http://head:8265 --output runs/quickstart
    """


@command.command("list", short_help="List what was submitted, the oldest first.")
@address_option()
@allow_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def list_jobs(address: str, allow_no_token: bool, as_json: bool) -> int:
    """List the jobs that raybench submitted, the oldest first."""
    jobs = open_jobs(address, allow_no_token=allow_no_token).list()
    if as_json:
        click.echo(json.dumps([_plain(job) for job in jobs], indent=1))
        return 0
    for job in jobs:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.started)) if job.started else "-"
        code = f"exit code {job.exit_code}" if job.has_ended else ""
        click.echo(f"{job.id:<40}  {job.status:<9}  {started:<19}  {code}".rstrip())
    return 0


@command.command("status", short_help="Show one job and the last line it wrote.")
@click.argument("job")
@address_option()
@allow_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(job: str, address: str, allow_no_token: bool, as_json: bool) -> int:
    """Show the state of one job and the last line it wrote."""
    jobs = open_jobs(address, allow_no_token=allow_no_token)
    found = jobs.get(job)
    if as_json:
        click.echo(json.dumps(_plain(found), indent=1))
        return 0
    click.echo(f"{found.id}: {found.status}{f', exit code {found.exit_code}' if found.has_ended else ''}")
    click.echo(f"run directory on the cluster: {found.output}")
    lines = [line for line in jobs.logs(job).splitlines() if line.strip()] if found.status != "PENDING" else []
    click.echo(f"last line: {lines[-1]}" if lines else found.message)
    return 0


@command.command("logs", short_help="Show what a job writes, until it ends.")
@click.argument("job")
@address_option()
@allow_option
@click.option("--no-follow", is_flag=True, help="Only what is there now.")
def logs(job: str, address: str, allow_no_token: bool, no_follow: bool) -> int:
    """Show what a job writes until it ends; the exit code is its driver's."""
    jobs = open_jobs(address, allow_no_token=allow_no_token)
    if no_follow:
        click.echo(jobs.logs(job), nl=False)
        return 0
    return follow(jobs, job, address)


@command.command("cancel", short_help="Ask a job to end; what is committed stays.")
@click.argument("job")
@address_option()
@allow_option
def cancel(job: str, address: str, allow_no_token: bool) -> int:
    """Ask a job to end: shards that run may end, what is committed stays, and submitting again resumes."""
    found = open_jobs(address, allow_no_token=allow_no_token).cancel(job)
    click.echo(f"{found.id}: {found.status}")
    return 0


@command.command("fetch", short_help="Bring a run directory here.")
@click.argument("job")
@address_option()
@allow_option
@click.option("--output", type=click.Path(path_type=Path), help="Where to put the run directory; by default runs/<name>.")
@click.option("--only", type=click.Choice(["results"]), help="results: numbers and their origin, without prompts and answers.")
def fetch(job: str, address: str, allow_no_token: bool, output: Path | None, only: str | None) -> int:
    """Bring a run directory here: at most 200 MB, packed, from the cluster; all of it from an object store."""
    jobs = open_jobs(address, allow_no_token=allow_no_token)
    found = jobs.get(job)
    target = output or Path("runs") / found.run
    if is_uri(found.output):
        count = RunDir.open(found.output).copy_to(target, RESULTS if only else ())
    else:
        count = unpack(jobs.archive(job, only_results=only is not None), target)
    click.echo(f"{count} files: {target}")
    return 0


def _plain(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "run": job.run,
        "status": job.status,
        "started": job.started,
        "exit_code": job.exit_code if job.has_ended else None,
        "output": job.output,
    }
