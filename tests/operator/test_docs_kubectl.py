"""Every documented kubectl command has flags that kubectl knows."""

from __future__ import annotations

from hack.localcluster.binaries import ensure_binaries, find

from docs_binaries import documented, unknown_flags
from docs_faults import expect_none


def test_documented_kubectl_commands_have_flags_that_exist() -> None:
    ensure_binaries(["kubectl"])
    kubectl = find("kubectl")
    assert kubectl is not None
    assert len(list(documented("kubectl"))) > 30
    expect_none(unknown_flags(str(kubectl), "kubectl", common=("options",)))
