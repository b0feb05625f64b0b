"""Debian's real Puppet and a real server: what the classifier says is what Puppet does, and no request is lost."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from backstay.server.views.outside.puppet import as_yaml
from real_puppet import MODULES, PROGRAM, Puppet, needs_puppet
from real_server import RealServer
from server_rig import EXAMPLES

pytestmark = needs_puppet

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
BACKSTAY = Path(sys.executable).with_name("backstay")
RATE_PER_S = 150
DEADLINE_S = 30.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealServer]:
    server = RealServer(tmp_path / "server")
    server.folder.mkdir()
    await server.start(EXAMPLES / "serverdensity.yaml")
    yield server
    await server.stop()


def classifier(server: RealServer, folder: Path) -> Path:
    """What puppet.conf names as external_nodes."""
    token = folder / "token"
    token.write_text(server.token)
    script = folder / "enc"
    script.write_text(
        f'#!/bin/sh\nexec {BACKSTAY} enc --server {server.url} --ca {server.ca} --token-file {token} "$@"\n'
    )
    script.chmod(0o755)
    return script


def test_the_modules_manifests_are_sound() -> None:
    assert PROGRAM is not None
    manifests = sorted(str(path) for path in MODULES.rglob("*.pp"))
    assert len(manifests) >= 8
    subprocess.run([PROGRAM, "parser", "validate", *manifests], check=True, timeout=60)


def test_ruby_reads_every_value_as_it_was_meant() -> None:
    """Puppet reads the classification by Ruby's YAML: what looks like a number or a symbol there stays a text."""
    tricky = [
        ":symbol",
        "1,000",
        "no",
        "0o17",
        "1:30",
        "~",
        "",
        " x ",
        "é😀",
        "\x01\x7f\u2028",
        "a: b",
        "- c",
        "#",
        "1e3",
    ]
    given = {
        "texts": tricky,
        "numbers": [1, -7, 2.5, 1e16, 2**62],
        "rest": [True, False, None, [], {}, {"no": {"k": ["v"]}}],
    }
    code = (
        "require 'yaml'; require 'json'; print JSON.generate(YAML.safe_load($stdin.read, permitted_classes: [Symbol]))"
    )
    said = subprocess.run(
        ["ruby", "-e", code], input=as_yaml(given).encode(), capture_output=True, check=True, timeout=30
    )
    assert json.loads(said.stdout) == given


# --- a parameter, from the server to what users are served --------------------------------------------------------


SITE_CLASS = """
# A site's own class, as it might be anywhere: nginx's file out of a parameter, and a reload when it alters.
class site_nginx (String[1] $greeting = 'as declared') {
  file { '@FOLDER@/nginx.conf':
    ensure  => file,
    content => epp('site_nginx/nginx.conf.epp', { 'greeting' => $greeting, 'zone' => $backstay['zone'] }),
  }
  ~> exec { 'reload nginx, when it takes the file':
    command     => '@NGINX@ -t -c @FOLDER@/nginx.conf -e @FOLDER@/error.log && kill -HUP $(cat @FOLDER@/nginx.pid)',
    path        => ['/usr/bin', '/bin'],
    provider    => shell,
    refreshonly => true,
  }
}
"""
TEMPLATE = """
worker_processes 2;
error_log @FOLDER@/error.log;
pid @FOLDER@/nginx.pid;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path @FOLDER@/body; proxy_temp_path @FOLDER@/proxy; fastcgi_temp_path @FOLDER@/fcgi;
  uwsgi_temp_path @FOLDER@/uwsgi; scgi_temp_path @FOLDER@/scgi;
  server {
    listen 127.0.0.1:@PORT@;
    location / { return 200 "<%= $greeting %>, <%= $zone %>\n$http_x_witness_id"; }
  }
}
"""


@dataclass
class Nginx:
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def start(self) -> asyncio.subprocess.Process:
        assert NGINX is not None
        argv = ["-c", f"{self.folder}/nginx.conf", "-e", f"{self.folder}/error.log", "-p", str(self.folder)]
        return await asyncio.create_subprocess_exec(NGINX, *argv, "-g", "daemon off;")

    async def says(self) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.url) as response:
            return (await response.text()).partition("\n")[0]

    async def until(self, words: str) -> None:
        end = time.monotonic() + DEADLINE_S
        said = ""
        while said != words:
            try:
                said = await self.says()
            except aiohttp.ClientError as error:
                said = str(error)
            assert said == words or time.monotonic() < end, said
            await asyncio.sleep(0.02)


def site(puppet: Puppet, folder: Path) -> Nginx:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])

    def filled(text: str) -> str:
        return text.replace("@FOLDER@", str(folder)).replace("@PORT@", str(port)).replace("@NGINX@", str(NGINX))

    puppet.module("site_nginx", filled(SITE_CLASS))
    templates = puppet.modules / "site_nginx" / "templates"
    templates.mkdir()
    (templates / "nginx.conf.epp").write_text(filled(TEMPLATE))
    return Nginx(folder, port)


async def witness(nginx: Nginx, report: Path) -> asyncio.subprocess.Process:
    argv = ["--address", "127.0.0.1", "--port", str(nginx.port), "--rate", str(RATE_PER_S), "--new-share", "1"]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backstay.look.traffic", *argv, "--report", str(report)
    )


@pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")
async def test_a_parameter_of_the_server_reaches_users_by_puppet_and_no_request_is_lost(
    server: RealServer, tmp_path: Path
) -> None:
    puppet = Puppet(tmp_path)
    nginx = site(puppet, tmp_path)
    enc = ("--node_terminus=exec", f"--external_nodes={classifier(server, tmp_path)}")
    # Before nginx runs there is nobody to reload: its file alone is made.
    first = await puppet.apply("web2.example.com", *enc, "--skip_tags=exec", site="include site_nginx\n")
    assert first.code == 2, first.said
    engine = await nginx.start()
    traffic = None
    try:
        await nginx.until("as declared, wdc01")
        traffic = await witness(nginx, tmp_path / "report.jsonl")
        asked = {"selector": "node/web2", "kind": "parameter", "parameter": "site_nginx::greeting",
                 "value": "from the console", "reason": "a test", "duration_s": 3600}  # fmt: skip
        put = await server.call("POST", "/changes", asked)

        second = await puppet.apply("web2.example.com", *enc)
        assert second.code == 2, second.said
        await nginx.until("from the console, wdc01")

        await server.call("POST", f"/changes/{put['changes'][0]['id']}/undo", {"reason": "the test is over"})
        third = await puppet.apply("web2.example.com", *enc)
        assert third.code == 2, third.said
        await nginx.until("as declared, wdc01")
    finally:
        if traffic is not None:
            traffic.send_signal(signal.SIGTERM)
            await traffic.wait()
        engine.terminate()
        await engine.wait()
    summary = json.loads((tmp_path / "report.jsonl").read_text().splitlines()[-1])
    assert summary["type"] == "summary"
    assert summary["sent"] > RATE_PER_S
    assert summary["failed"] == 0, summary


async def test_a_node_that_the_estate_does_not_have_gets_no_catalogue(server: RealServer, tmp_path: Path) -> None:
    """Rather none than one without its classes: Puppet's agent then keeps to the catalogue that it has."""
    puppet = Puppet(tmp_path)
    enc = ("--node_terminus=exec", f"--external_nodes={classifier(server, tmp_path)}")
    applied = await puppet.apply("nobody.example.com", *enc, site=f"file {{ '{tmp_path}/made': ensure => file }}\n")
    assert applied.code == 1
    assert "nobody" in applied.said
    assert not (tmp_path / "made").exists()


# --- the module ---------------------------------------------------------------------------------------------------


async def test_the_module_enrols_an_agent_once_and_alters_nothing_the_second_time(
    server: RealServer, tmp_path: Path
) -> None:
    puppet = Puppet(tmp_path)
    token = server.join_token("lb1")
    state, config, units = (tmp_path / name for name in ("state", "config", "units"))
    units.mkdir()
    puppet.module(
        "profile",
        f"""
        class profile (Sensitive[String[1]] $join_token) {{
          class {{ 'backstay':
            node_name      => 'lb1',
            install_from   => 'none',
            binary         => '{BACKSTAY}',
            server         => '{server.url}',
            fingerprint    => '{server.fingerprint}',
            join_token     => $join_token,
            config_dir     => '{config}',
            state_dir      => '{state}',
            unit_dir       => '{units}',
            manage_service => false,
          }}
          contain backstay::agent
        }}
        """,
    )
    manifest = f"class {{ 'profile': join_token => Sensitive('{token}') }}\n"
    first = await puppet.apply("lb1.example.com", site=manifest)
    assert first.code == 2, first.said
    assert token not in first.said
    assert (state / "lb1" / "link.json").is_file()
    assert (config / "join-token").stat().st_mode & 0o777 == 0o400
    assert "ExecStart=/usr/bin/backstay agent run" in (units / "backstay-agent@.service").read_text()
    assert f"ExecStart={BACKSTAY} agent run" in (units / "backstay-agent@.service.d" / "puppet.conf").read_text()
    agents = await server.call("GET", "/agents")
    assert "lb1" in json.dumps(agents)

    second = await puppet.apply("lb1.example.com")
    assert second.code == 0, second.said
