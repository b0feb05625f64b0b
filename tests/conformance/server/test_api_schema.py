"""schemathesis against a real server: what the OpenAPI document promises is what is answered, whatever is sent.

Boundaries of every parameter (valid and not), examples, and sequences of calls; as an admin. No 5xx, no answer that the
document does not know, nothing accepted that it forbids.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from access_rig import an_app
from backstay.server.app import OPENAPI_PATH
from followed_server import FollowedServer
from server_rig import SERVERDENSITY

TIMEOUT_S = 240.0
APART = (
    "/api/v1/stream",  # never ends: tests/unit/server/test_feed.py
    "/api/v1/agents/{lb}/desired",  # an agent's credential alone: tests/unit/link/, tests/conformance/agent/
    "/api/v1/agents/{lb}/report",
    "/api/v1/agents/{lb}/events",
    "/api/v1/agents/{lb}/credential",
)
# A selector, a parameter's name or an estate's text may be of the right shape and make no sense here: that is a 422.
NOT_CHECKED = "positive_data_acceptance"


@pytest.mark.timeout(300)  # a hundred requests a route
def test_every_route_keeps_what_the_document_promises(tmp_path: Path) -> None:
    with FollowedServer(tmp_path, SERVERDENSITY) as server:
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", server.url + OPENAPI_PATH),
                *("--header", f"Authorization: Bearer {server.token}"),
                *("--phases", "coverage,fuzzing,stateful", "--max-examples", "2", "--seed", "1"),
                *("--exclude-checks", NOT_CHECKED, "--warnings", "off", "--suppress-health-check", "all"),
                *("--generation-database", "none", "--no-color"),
                *(option for path in APART for option in ("--exclude-path", path)),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]


async def test_the_document_is_whole(tmp_path: Path) -> None:
    """Of every operation: a name of its own, a summary, an answer's shape, who may, and problems."""
    async with an_app(tmp_path) as rig:
        document = (await rig.browser().get(OPENAPI_PATH)).json()
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    names = [operation["operationId"] for _, operation in operations]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"]}
    for where, operation in operations:
        assert operation["summary"].endswith("."), where
        assert set(operation["tags"]) <= tags, where
        assert "security" in operation, where
        assert "default" in operation["responses"], where
        answers = {status: one for status, one in operation["responses"].items() if status.startswith("2")}
        assert answers, where
        for status, answer in answers.items():
            shapes = answer.get("content", {})
            assert status == "204" or shapes, where
            assert all("schema" in one for one in shapes.values()) or "/api/" not in where, where
    assert {"token", "session"} == set(document["components"]["securitySchemes"])


@pytest.mark.parametrize("path", ["/api/v1/changes", "/api/v1/users/alice", "/api/v1/nodes/web1"])
async def test_a_method_that_is_not_taken_is_told_which_ones_are(tmp_path: Path, path: str) -> None:
    async with an_app(tmp_path) as rig:
        answer = await rig.browser().request("PUT", path)
        taken = {
            "/api/v1/changes": "GET, POST",
            "/api/v1/users/alice": "PATCH",
            "/api/v1/nodes/web1": "GET",
        }
        assert (answer.status_code, answer.headers["Allow"]) == (405, taken[path])
