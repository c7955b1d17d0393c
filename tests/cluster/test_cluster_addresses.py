"""Which addresses a native cluster takes."""

from __future__ import annotations

import ipaddress

import pytest
from hack.localcluster.errors import ClusterError
from hack.localcluster.network import Addresses, choose_block, link_name, routed_networks
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
NETWORKS = st.builds(
    lambda address, prefix: ipaddress.IPv4Network((address, prefix), strict=False),
    st.integers(min_value=0, max_value=2**32 - 1),
    st.integers(min_value=8, max_value=32),
)


@given(name=NAMES, taken=st.lists(NETWORKS, max_size=20))
def test_block_overlaps_nothing_that_is_taken(name: str, taken: list[ipaddress.IPv4Network]) -> None:
    try:
        block = choose_block(name, taken)
    except ClusterError:
        assert sum(network.num_addresses for network in taken) >= 2**17  # only then can the candidates be used up
    else:
        assert not any(block.overlaps(other) for other in taken)


@given(name=NAMES)
def test_same_name_looks_at_the_same_block_first(name: str) -> None:
    assert choose_block(name, []) == choose_block(name, [])


def test_every_range_taken_is_an_error_that_says_so() -> None:
    with pytest.raises(ClusterError, match="every address range"):
        choose_block("any", [ipaddress.IPv4Network("0.0.0.0/0")])


@given(name=NAMES)
def test_ranges_of_one_cluster_are_disjoint(name: str) -> None:
    addresses = Addresses(choose_block(name, []))
    pods, services = ipaddress.IPv4Network(addresses.pods), ipaddress.IPv4Network(addresses.services)
    host, node = ipaddress.IPv4Address(addresses.host), ipaddress.IPv4Address(addresses.node)
    assert not pods.overlaps(services)
    assert ipaddress.IPv4Address(addresses.service_api) in services
    assert host != node
    assert not any(address in network for address in (host, node) for network in (pods, services))


@given(name=NAMES)
def test_link_name_fits_the_kernels_limit(name: str) -> None:
    assert len(link_name(name)) <= 15


def test_routes_of_this_machine_are_networks_without_the_default() -> None:
    assert ipaddress.IPv4Network("0.0.0.0/0") not in routed_networks()
