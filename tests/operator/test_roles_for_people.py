"""What people with the cluster's own roles may do with LLMServices once the chart is installed: the API server says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import wait_until
from kubernetes import client, config

from helm_release import Release, helm_binary

TEAM = "team"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
SUBRESOURCES = ("", "scale", "status")
READ = frozenset({("", verb) for verb in ("get", "list", "watch")})
CHANGE = READ | {("", verb) for verb in VERBS[3:]} | {("scale", verb) for verb in ("get", "update", "patch")}
MAY = {"view": READ, "edit": CHANGE, "admin": CHANGE, None: frozenset()}
"""Role in the namespace -> (subresource, verb) of all that its holder may do there; None: an account without a role."""


@pytest.fixture(scope="module")
def reviews() -> Iterator[client.AuthorizationV1Api]:
    with ControlPlane() as plane:
        plane.kubectl("create", "namespace", TEAM)
        for role in filter(None, MAY):
            plane.kubectl("-n", TEAM, "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")
        Release(plane, helm=helm_binary()).install()
        api = client.AuthorizationV1Api(config.new_client_from_config(str(plane.kubeconfig)))
        wait_until(
            lambda: _may(api, "view", "", "get") and _may(api, "admin", "", "create"),
            what="the cluster's roles to take in the chart's",
            timeout_seconds=60,
            poll_seconds=0.2,
        )
        yield api


def _may(reviews: client.AuthorizationV1Api, user: str, subresource: str, verb: str) -> bool:
    """Whether the user may do this to LLMServices of the team's namespace."""
    asked = client.V1ResourceAttributes(
        group="andante.dev", resource="llmservices", subresource=subresource, verb=verb, namespace=TEAM
    )
    spec = client.V1SubjectAccessReviewSpec(user=user, resource_attributes=asked)
    return bool(reviews.create_subject_access_review(client.V1SubjectAccessReview(spec=spec)).status.allowed)


@pytest.mark.parametrize("role", MAY, ids=str)
def test_a_role_of_the_cluster_brings_these_rights_and_no_others(
    reviews: client.AuthorizationV1Api, role: str | None
) -> None:
    user = role or "stranger"
    found = {
        (subresource, verb) for subresource in SUBRESOURCES for verb in VERBS if _may(reviews, user, subresource, verb)
    }
    assert found == MAY[role]
