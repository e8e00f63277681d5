"""Tests DDP over a real network, with one torchrun agent on each of two hosts."""

import os
import signal
import sys
from contextlib import suppress

import pytest
from benchmarks.hosts import Host, two_hosts
from command import environment, only_run
from conftest import HELPERS
from cutting import RUN
from forked_ranks import harness_on_ranks

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def torchrun(hosts: tuple[Host, Host], *arguments: str) -> list[tuple[int, str]]:
    """Returns exit status and stderr of each agent of one job with a rank on each host."""
    agents = []
    try:
        for number, host in enumerate(hosts):
            # Static rendezvous: with c10d an agent must guess from names whether it is the host.
            command = [
                sys.executable, "-m", "torch.distributed.run", "--nnodes=2",
                f"--node-rank={number}", "--nproc-per-node=1",
                f"--master-addr={hosts[0].address}", "--master-port=29400", *arguments,
            ]  # fmt: skip
            agents.append(host.popen(*command, env=environment()))
        errors = [agent.communicate(timeout=150)[1] for agent in agents]
        return [(agent.returncode, error) for agent, error in zip(agents, errors, strict=True)]
    finally:
        for agent in agents:
            with suppress(ProcessLookupError):
                os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()


@pytest.fixture(scope="module", name="together")
def fixture_together(tmp_path_factory) -> bytes:
    """Returns the records of two ranks on one host."""
    runs = tmp_path_factory.mktemp("together")
    assert harness_on_ranks(2, *RUN, f"output_dir={runs}").returncode == 0
    return (only_run(runs) / "records.jsonl").read_bytes()


def test_two_hosts_make_the_records_of_two_ranks_on_one(tmp_path, together) -> None:
    with two_hosts() as hosts:
        ended = torchrun(hosts, "-m", "harness", *RUN, f"output_dir={tmp_path}")
    assert [status for status, _ in ended] == [0, 0], ended

    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == together


def test_a_job_on_two_hosts_goes_on_after_a_worker_was_killed(tmp_path, together) -> None:
    program = str(HELPERS / "signalled_program.py")
    with two_hosts() as hosts:
        ended = torchrun(hosts, program, "1:14:SIGKILL", "--", *RUN, f"output_dir={tmp_path}")
        assert all(status != 0 for status, _ in ended), ended
        ended = torchrun(hosts, "-m", "harness", *RUN, f"output_dir={tmp_path}")
    assert [status for status, _ in ended] == [0, 0], ended

    apart = only_run(tmp_path)
    assert (apart / "records.jsonl").read_bytes() == together
    assert "resumed" in (apart / "timings.jsonl").read_text()
