"""Drives a cluster by docker-py, at the API version that it settles on by itself. Usage: docker-cli.py unix://SOCKET. Prints what it saw as JSON."""

import json
import sys
import time

import docker
from docker.types import ConfigReference, EndpointSpec, SecretReference, ServiceMode, UpdateConfig

client = docker.DockerClient(base_url=sys.argv[1], version="auto")
seen = {"version": client.api._version, "server": client.version()["ApiVersion"], "ping": client.ping()}


def eventually(what, check):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.1)
    raise SystemExit(f"not in 20 s: {what}")


def status(call):
    try:
        call()
    except docker.errors.APIError as error:
        return [error.response.status_code, error.explanation]
    return None


def latest(act):
    """The managers write to services as well: who lost the race reads again."""
    while True:
        service.reload()
        try:
            return act()
        except docker.errors.APIError as error:
            if "update out of sequence" not in error.explanation:
                raise


seen["swarm"] = client.swarm.attrs["Spec"]["Name"]
nodes = client.nodes.list(filters={"role": "worker"})
seen["workers"] = sorted(node.attrs["Description"]["Hostname"] for node in nodes)
node = nodes[0]
spec = dict(node.attrs["Spec"], Labels={"py": "1"})
seen["nodeUpdate"] = node.update(spec)
node.reload()
seen["nodeLabels"] = node.attrs["Spec"]["Labels"]

secret = client.secrets.create(name="py-secret", data=b"hidden", labels={"by": "py"})
config = client.configs.create(name="py-config", data=b"shown", labels={"by": "py"})
seen["secrets"] = [one.name for one in client.secrets.list(filters={"name": "py"})]
seen["configData"] = client.configs.get(config.id).attrs["Spec"]["Data"]
network = client.networks.create("py-net", driver="overlay", labels={"by": "py"}, check_duplicate=True)
seen["networks"] = [one.name for one in client.networks.list(names=["py-net"])]

service = client.services.create(
    "web:1",
    name="py",
    labels={"by": "py"},
    env=["A=1"],
    mode=ServiceMode("replicated", replicas=1),
    update_config=UpdateConfig(parallelism=0, monitor=200000000),
    endpoint_spec=EndpointSpec(ports={18181: 8080}),
    secrets=[SecretReference(secret.id, "py-secret")],
    configs=[ConfigReference(config.id, "py-config", filename="/etc/py-config")],
)
running = lambda count: len(
    [t for t in service.tasks(filters={"desired-state": "running"}) if t["Status"]["State"] == "running"]
) == count
eventually("the service runs", lambda: running(1))
seen["listed"] = [one.name for one in client.services.list(filters={"label": "by=py"})]
seen["secretInUse"] = status(secret.remove)

seen["scaled"] = latest(lambda: service.scale(2))
eventually("two tasks run", lambda: running(2))
seen["updated"] = latest(lambda: service.update(env=["A=2"], fetch_current_spec=True))
up = lambda: client.services.get("py").attrs.get("UpdateStatus", {}).get("State") == "completed"
eventually("the update is over", up)
service.reload()
seen["env"] = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
seen["replicas"] = service.attrs["Spec"]["Mode"]["Replicated"]["Replicas"]
eventually("logs come", lambda: b"".join(service.logs(stdout=True, stderr=True)) != b"")
seen["stale"] = status(lambda: client.api.update_service(service.id, 1, name="py", task_template={"ContainerSpec": {"Image": "web:1"}}))

service.remove()
eventually("the tasks are gone", lambda: client.api.tasks(filters={"label": "by=py"}) == [])
secret.remove()
config.remove()
network.remove()
seen["gone"] = status(lambda: client.services.get("py"))
print(json.dumps(seen))
