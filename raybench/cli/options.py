"""The options that say what a run is: a configuration file, or models and tasks on the command line; where it runs, for run and plan alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from raybench.core.checkpoint import slug
from raybench.core.config import RunConfig
from raybench.core.config_file import load, override, parse

_WHAT = [
    click.argument("config", required=False, type=click.Path(path_type=Path)),
    click.option("--model", multiple=True, help="Checkpoint, instead of a configuration file; may stand several times."),
    click.option("--tasks", help="Task names, separated by commas; with --model."),
    click.option("--shots", type=int, help="Few-shot examples of every task; with --model."),
    click.option("--engine", help="Engine kind; with --model."),
    click.option(
        "--set", "settings", multiple=True, metavar="PATH=VALUE", help="Override a field: engine.dtype=bfloat16, tasks.0.shots=5."
    ),
]
_WHERE = [
    click.option("--limit", type=int, help="Only the first n samples of every task."),
    click.option("--pool", type=click.Choice(["auto", "local", "ray"]), help="local: in this process; ray: on a cluster."),
    click.option("--address", help="host:port of a Ray cluster to join."),
    click.option("--output", help="Run directory, or s3://bucket/folder or gs://bucket/folder; by default runs/<name>."),
]


def what_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Put the options on a command that shows what is asked."""
    for option in reversed(_WHAT):
        function = option(function)
    return function


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Put the options on a command that runs it, or plans to: how much of it, where, and into which folder as well."""
    for option in reversed(_WHERE):
        function = option(function)
    return what_options(function)


def read_config(source: Mapping[str, Any]) -> RunConfig:
    """The configuration that the options mean.

    Raises:
        ConfigError: with all its mistakes.
        click.UsageError: when neither a file nor models are given.
    """
    settings = [*source["settings"]]
    for name, field in (("limit", "limit"), ("pool", "pool"), ("output", "output"), ("address", "ray.address")):
        if source.get(name) is not None:
            value = source[name] if name == "limit" else str(source[name])
            settings.append(f"{field}={json.dumps(value, ensure_ascii=False)}")  # in quotes: a folder may be called 2026 or on
    if source["config"] is not None:
        given = [f"--{name}" for name in ("model", "tasks", "shots", "engine") if source[name]]
        if given:
            raise click.UsageError(
                f"{', '.join(given)}: only without a configuration file; use --set to change a field of {source['config']}."
            )
        return _agreeing(load(source["config"], settings), source)
    if not source["model"] or not source["tasks"]:
        raise click.UsageError("give a configuration file, or --model and --tasks. `raybench list tasks` shows the tasks.")
    return _agreeing(parse(override(_from_options(source), settings), where="command line"), source)


def _agreeing(config: RunConfig, source: Mapping[str, Any]) -> RunConfig:
    """The configuration, unless a cluster is named and then not used. In a file alone that is no mistake: `--pool local` tries it out here."""
    if source.get("address") is not None and config.pool == "local":
        raise click.UsageError("--address: pool is local, which joins no cluster. Add --pool ray, or leave --address out.")
    return config


def _from_options(source: Mapping[str, Any]) -> dict[str, Any]:
    tasks = [name.strip() for name in source["tasks"].split(",") if name.strip()]
    shots = {} if source["shots"] is None else {"shots": source["shots"]}
    stems = [m.rstrip("/").rpartition("/")[2].removesuffix(".gguf") for m in source["model"]]
    config: dict[str, Any] = {
        "name": slug("-".join([*stems, *tasks, *([f"{source['shots']}shot"] if shots else [])]).replace("/", ".")),
        "models": [{"checkpoint": m} for m in source["model"]],
        "tasks": [{"name": name, **shots} for name in tasks],
    }
    if source["engine"]:
        config["engine"] = {"kind": source["engine"]}
    return config
