"""What Prometheus is told: labels that no caller can make up, and all of it without an estate or a database."""

from __future__ import annotations

from pathlib import Path

from access_rig import an_app
from backstay.server.model import Role


async def test_what_a_caller_makes_up_is_no_label(tmp_path: Path) -> None:
    async with an_app(tmp_path) as rig:
        prometheus = rig.token("prometheus", Role.VIEWER, ["metrics"])
        nobody = rig.browser()
        await nobody.get("/api/v1/nodes/made-up-by-me")
        await nobody.get("/no/such/page/made-up-by-me")
        await nobody.request("MADEUP", "/")
        text = (await prometheus.get("/metrics")).text
        assert "made-up-by-me" not in text and "MADEUP" not in text
        assert 'method="GET",route="/api/v1/nodes/{node}",status="401"' in text
        assert 'method="other"' in text


async def test_a_token_is_needed_and_one_of_this_room_is_enough(tmp_path: Path) -> None:
    async with an_app(tmp_path) as rig:
        assert (await rig.browser(address="127.0.0.1").get("/metrics")).status_code == 401
        prometheus = rig.token("prometheus", Role.VIEWER, ["metrics"])
        assert (await prometheus.get("/metrics")).status_code == 200
        assert (await prometheus.get("/api/v1/nodes")).status_code == 403


async def test_a_server_without_an_estate_or_a_database_tells_what_it_can(tmp_path: Path) -> None:
    async with an_app(tmp_path, estate_text=None) as rig:
        prometheus = rig.token("prometheus", Role.VIEWER)
        text = (await prometheus.get("/metrics")).text
        assert "backstay_server_database_up 1.0" in text
        assert "backstay_server_estate_number 0.0" in text
        rig.server.away = "The database does not answer."
        text = (await prometheus.get("/metrics")).text
        assert "backstay_server_database_up 0.0" in text
        assert "backstay_server_journal_events" not in text
