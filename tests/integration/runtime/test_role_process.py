"""A role as a child: ready at its own word, and its failures told."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from driftlock.errors import StartError
from driftlock.runtime.ports import free_port
from driftlock.runtime.role_process import RoleProcess


def collector(tmp_path: Path, grpc: int, http: int, **env: str) -> RoleProcess:
    ports = {"DRIFTLOCK_OTLP_GRPC_PORT": str(grpc), "DRIFTLOCK_OTLP_HTTP_PORT": str(http)}
    addresses = [("127.0.0.1", grpc), ("127.0.0.1", http)]
    return RoleProcess("collector", number=0, env={**ports, **env}, metrics=tmp_path, addresses=addresses)


@pytest.fixture
def ports() -> tuple[int, int]:
    first = free_port()
    return first, free_port([first])


async def test_a_role_is_ready_when_its_ports_answer(
    tmp_path: Path, ports: tuple[int, int], nats_url: str
) -> None:
    role = collector(tmp_path, *ports, DRIFTLOCK_NATS_URL=nats_url)
    child = await role.launch()
    listening = {one.laddr.port for one in psutil.Process(child.pid).net_connections("tcp")}
    assert set(ports) <= listening
    assert await child.end(role.end_steps) == 0


@pytest.mark.parametrize(
    "env",
    [{"DRIFTLOCK_NATS_URL": ""}, {"DRIFTLOCK_NATS_URL": "nats://x", "DRIFTLOCK_PARTITIONS": "many"}],
    ids=["nothing to connect to", "a setting that is no number"],
)
async def test_a_role_that_cannot_be_prepared_fails_the_start(
    env: dict[str, str], tmp_path: Path, ports: tuple[int, int]
) -> None:
    with pytest.raises(StartError, match=r"The collector did not start \(exit code 2\)"):
        await collector(tmp_path, *ports, **env).launch()
