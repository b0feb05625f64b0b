"""One suite, every provider: SoftLayer, Hetzner Cloud, Amazon, two programs of one's own, the plugin of the docs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aws_api import INSTANCES, AwsApi
from command_api import CommandApi
from hetzner_api import HetznerApi
from provider_world import ADDRESS, FOREIGN, SECRETS, Rig, World
from softlayer_counted import SoftlayerCounted

from backstay.estate.model import (
    AwsProvider,
    CommandProvider,
    EnvSecret,
    HetznerProvider,
    PluginProvider,
    SoftlayerProvider,
)
from backstay.lab.provider.softlayer_api import PREFIX

USER, KEY = EnvSecret(env="USER"), EnvSecret(env="KEY")


def _softlayer(*, apart: bool = False, **holds: tuple[str, ...]) -> Callable[[], Rig]:
    def rig() -> Rig:
        world = World()
        return Rig(
            name="softlayer",
            apart=apart,
            world=world,
            api=SoftlayerCounted(world, **{"global_ips": ()} | holds, username=SECRETS["USER"], api_key=SECRETS["KEY"]),
            declared=lambda url: SoftlayerProvider(
                kind="softlayer", username=USER, api_key=KEY, endpoint_url=url + PREFIX
            ),
        )

    return rig


def _hetzner() -> Rig:
    world = World()
    return Rig(
        name="hetzner",
        world=world,
        api=HetznerApi(world),
        declared=lambda url: HetznerProvider(kind="hetzner", token=KEY, endpoint_url=url + "/v1"),
        foreign="server other",
    )


def _aws() -> Rig:
    world = World()
    return Rig(
        name="aws",
        world=world,
        api=AwsApi(world),
        declared=lambda url: AwsProvider(
            kind="aws", region="eu-west-1", access_key_id=USER, secret_access_key=KEY, endpoint_url=url
        ),
        shows_moving=False,
        foreign=INSTANCES[FOREIGN],
    )


def _command() -> Rig:
    world = World()
    program = str(Path(__file__).with_name("command_programs.py"))
    python = (sys.executable, "-IS")
    return Rig(
        name="command",
        world=world,
        api=CommandApi(world),
        declared=lambda url: CommandProvider(
            kind="command",
            owner=(*python, program, "owner", url, "sesame"),
            assign=(*python, program, "assign", url, "sesame"),
        ),
    )


def _plugin() -> Rig:
    world = World()
    return Rig(
        name="acme",
        world=world,
        api=CommandApi(world),
        declared=lambda url: PluginProvider(kind="plugin", plugin="acme", settings={"url": url}, secrets={"key": KEY}),
    )


RIGS = {
    "softlayer": _softlayer(global_ips=(ADDRESS,)),
    "softlayer-apart": _softlayer(apart=True, global_ips=(ADDRESS,)),
    "softlayer-subnet": _softlayer(static_subnets=(ADDRESS,)),
    "hetzner": _hetzner,
    "aws": _aws,
    "command": _command,
    "plugin": _plugin,
}

DOCS = Path(__file__).parents[3] / "docs" / "providers.md"


@pytest.fixture(scope="session", autouse=True)
def installed_plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The worked example of the docs, installed as its package would be: a module and an entry point."""
    _, _, rest = DOCS.read_text().partition("    # backstay_acme.py\n")
    code, _, rest = rest.partition("\nIn its `pyproject.toml`:\n\n")
    point, _, _ = rest.partition("\nAnd in the estate file")
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "backstay_acme.py").write_text(textwrap.dedent(code))
    dist = folder / "backstay_acme-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: backstay-acme\nVersion: 1.0\n")
    name, module = point.split("\n")[1].strip().split(" = ")
    (dist / "entry_points.txt").write_text(f"[backstay.providers]\n{name} = {module.strip(chr(34))}\n")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest_asyncio.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with RIGS[request.param]().up() as made:
        yield made
