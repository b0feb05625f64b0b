"""TLS: versions by profile, HSTS, tickets, unknown names, renewal and a key that does not match."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from engine_certificates import client_context, tls_of
from engine_h2 import H2Client
from engine_site import ADDRESS, DEADLINE_S, HOST, LB, Site, eventually, with_tls

from backstay.balance.model import DesiredTls, How
from backstay.balance.ports import ConfigRefused
from backstay.estate.model import TlsProfile

Certificates = Callable[[str], DesiredTls]
V1_0, V1_1, V1_2, V1_3 = (
    ssl.TLSVersion.TLSv1,
    ssl.TLSVersion.TLSv1_1,
    ssl.TLSVersion.TLSv1_2,
    ssl.TLSVersion.TLSv1_3,
)


async def _version_spoken(site: Site, tls: DesiredTls, version: ssl.TLSVersion) -> str | None:
    """What is agreed on with a client that speaks `version` alone; None: refused."""
    context = client_context(tls, minimum=version, maximum=version)
    try:
        _, writer = await asyncio.open_connection(ADDRESS, site.https_port, ssl=context, server_hostname=HOST)
    except (ssl.SSLError, ConnectionError):
        return None
    spoken: str | None = writer.get_extra_info("ssl_object").version()
    writer.close()
    return spoken


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("profile", "spoken"),
    [
        (TlsProfile.MODERN, {V1_3}),
        (TlsProfile.INTERMEDIATE, {V1_2, V1_3}),
        (TlsProfile.OLD, {V1_0, V1_1, V1_2, V1_3}),
    ],
)
async def test_each_profile_speaks_its_versions_and_no_other(
    site: Site, certificates: Certificates, profile: TlsProfile, spoken: set[ssl.TLSVersion]
) -> None:
    tls = replace(certificates("app"), profile=profile)
    await site.apply(with_tls(site.desired, tls))
    for version in (V1_0, V1_1, V1_2, V1_3):
        assert (await _version_spoken(site, tls, version) is not None) == (version in spoken), version.name


async def test_hsts_goes_with_https_answers_and_not_with_plain_ones(site: Site, certificates: Certificates) -> None:
    tls = certificates("app")
    await site.apply(with_tls(site.desired, tls, redirect_http=False))
    secure = await site.get_tls(context=client_context(tls))
    assert secure.headers.getall("Strict-Transport-Security") == ["max-age=63072000"]
    assert ["x-forwarded-proto", "https"] in secure.said["headers"]
    plain = await site.get()
    assert plain.status == 200
    assert "Strict-Transport-Security" not in plain.headers


async def test_no_session_ticket_is_handed_out(site: Site, certificates: Certificates) -> None:
    tls = certificates("app")
    await site.apply(with_tls(site.desired, tls))
    context = client_context(tls, maximum=V1_2)
    _, writer = await asyncio.open_connection(ADDRESS, site.https_port, ssl=context, server_hostname=HOST)
    session: ssl.SSLSession = writer.get_extra_info("ssl_object").session
    writer.close()
    assert not session.has_ticket


async def test_a_name_that_is_not_configured_gets_no_certificate_and_no_backend(
    site: Site, certificates: Certificates
) -> None:
    tls = certificates("app")
    await site.apply(with_tls(site.desired, tls))
    with pytest.raises((ssl.SSLError, aiohttp.ClientConnectorError, ConnectionError)):
        await site.get_tls(context=client_context(tls), sni="other.example.com", host="other.example.com")
    # A client that agreed on our name and then asks for another one is told so.
    answer = await site.get_tls(context=client_context(tls), host="other.example.com")
    assert answer.status == 421
    assert sum(sum(backend.seen.values()) for backend in site.backends) == 0


async def test_a_renewed_certificate_is_served_and_cuts_nobody(site: Site, certificates: Certificates) -> None:
    old, new = certificates("app"), certificates("renewed")
    await site.apply(with_tls(site.desired, old))
    url = f"https://{ADDRESS}:{site.https_port}/hold"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
        held = asyncio.create_task(_status(session, url, client_context(old)))
        await eventually(lambda: _holding(site), lambda count: count == 1)
        applied = await site.apply(with_tls(site.desired, new))
        assert applied.how is not How.START
        assert (await site.get_tls(context=client_context(new))).status == 200
        for backend in site.backends:
            backend.release.set()
        assert await held == 200


async def _holding(site: Site) -> int:
    return sum(backend.holding for backend in site.backends)


async def _status(session: aiohttp.ClientSession, url: str, context: ssl.SSLContext) -> int:
    async with session.get(url, ssl=context, server_hostname=HOST, headers={"Host": HOST}) as response:
        await response.read()
        return response.status


async def test_a_certificate_that_does_not_match_its_key_is_refused_and_the_running_one_goes_on(
    site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    good, other = certificates("app"), certificates("renewed")
    await site.apply(with_tls(site.desired, good))
    before = site.desired
    wrong = tls_of(Path(good.certificate_file), Path(other.key_file))
    with pytest.raises(ConfigRefused, match=r"lb1.*(key|\.key|certificate|PEM)"):
        await site.apply(with_tls(before, wrong))
    with pytest.raises(ConfigRefused):
        await site.engine.check(with_tls(before, wrong))
    assert (await site.get_tls(context=client_context(good))).status == 200
    assert (await site.apply(before)).how is How.NOTHING


async def test_a_certificate_that_is_not_there_is_refused_by_name(site: Site, certificates: Certificates) -> None:
    gone = replace(certificates("app"), certificate_file="/nonexistent/app.crt")
    with pytest.raises(ConfigRefused, match=r"services\.app\.tls\.certificate: /nonexistent/app\.crt"):
        await site.apply(with_tls(site.desired, gone))
    assert not await site.engine.running()


async def test_the_engine_restarts_though_the_certificate_on_disk_was_broken_since(
    site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    source = certificates("app")
    chain, key = tmp_path / "app.crt", tmp_path / "app.key"
    chain.write_bytes(Path(source.certificate_file).read_bytes())
    key.write_bytes(Path(source.key_file).read_bytes())
    await site.apply(with_tls(site.desired, tls_of(chain, key)))
    good = site.desired
    chain.write_text("half a certifica")
    with pytest.raises(ConfigRefused):
        await site.apply(with_tls(good, tls_of(chain, key)))
    assert (await site.get_tls(context=client_context(source))).status == 200


async def test_http2_is_spoken_and_carries_requests_side_by_side(site: Site, certificates: Certificates) -> None:
    tls = certificates("app")
    if not site.capabilities.http2:
        pytest.skip(f"{site.capabilities.version.binary} has no HTTP/2")
    await site.apply(with_tls(site.desired, tls))
    async with H2Client(ADDRESS, site.https_port, client_context(tls), HOST) as client:
        assert client.protocol == "h2"
        held, quick = client.send("/hold"), client.send("/quick")
        answer = await client.answer(quick)
        assert (answer.status, answer.headers["x-backstay-lb"]) == (200, LB)
        assert answer.headers["strict-transport-security"] == "max-age=63072000"
        for backend in site.backends:
            backend.release.set()
        assert (await client.answer(held)).status == 200


async def test_http2_has_the_same_limits_and_the_same_hosts(site: Site, certificates: Certificates) -> None:
    tls = certificates("app")
    if not site.capabilities.http2:
        pytest.skip(f"{site.capabilities.version.binary} has no HTTP/2")
    await site.apply(with_tls(site.desired, tls))
    async with H2Client(ADDRESS, site.https_port, client_context(tls), HOST) as client:
        assert (await client.answer(client.send("/", headers=(("x-large", "v" * 16_000),)))).status == 200
        assert (await client.answer(client.send("/", headers=(("x-large", "v" * 30_000),)))).status == 431
        assert (await client.answer(client.send("/", host="other.example.com"))).status == 421
        assert (await client.answer(client.send("/"))).status == 200
