"""Certificates: renewed ones are taken within seconds, broken ones never reach the engine."""

from __future__ import annotations

import asyncio
import hashlib
import ssl

import pytest
from agent_rig import HOST, Rig, change, free_port, until

from agent_certificates import Authority, other_key
from backstay.estate.model import EngineKind

pytestmark = pytest.mark.parametrize("kind", [EngineKind.NGINX], ids=str)


async def _shown(rig: Rig) -> str:
    """Fingerprint of the certificate that the engine shows."""
    context = ssl.create_default_context(cafile=str(rig.folder / "ca.crt"))
    port = rig.estate["services"]["app"]["https_port"]
    _, writer = await asyncio.open_connection(rig.addresses["lb1"], port, ssl=context, server_hostname=HOST)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(der).hexdigest()


async def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(rig: Rig) -> None:
    authority = Authority(rig.folder)
    certificate, key = rig.folder / "app.crt", rig.folder / "app.key"
    authority.pair(certificate, key, HOST)
    app = rig.estate["services"]["app"]
    app |= {
        "https_port": free_port(rig.addresses["lb1"]),
        "tls": {"certificate": "app.crt", "key": {"file": "app.key"}},
    }
    rig.write()
    await rig.start()
    first = await _shown(rig)

    authority.pair(certificate, key, HOST)
    await until(lambda: _other(rig, first), "the renewed certificate is shown")
    second, good_key = await _shown(rig), key.read_bytes()

    key.write_bytes(other_key())
    refused = await rig.told("certificate.refused")
    assert "does not belong" in refused.reason
    async with rig.client() as agent:  # a broken pair on disk must not stop a drain
        await agent.put_change(change("drain", "web2"))
    await rig.says("web2", "draining")
    assert await _shown(rig) == second
    assert any("does not belong" in warning for warning in (await rig.status())["warnings"])

    await rig.kill()  # nor a restart
    await rig.start()
    assert await _shown(rig) == second
    key.write_bytes(good_key)

    async def calm() -> bool:
        return (await rig.status())["warnings"] == []

    await until(calm, "the mended pair is accepted")


async def _other(rig: Rig, than: str) -> bool:
    return await _shown(rig) != than
