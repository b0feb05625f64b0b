"""Debian's real Puppet, in folders of its own: nothing of the machine's own configuration is read or written.

puppet = Puppet(tmp_path)
puppet.apply("notify { 'hello': }")
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = shutil.which("puppet")
needs_puppet = pytest.mark.skipif(PROGRAM is None, reason="no puppet on this machine")
MODULES = Path(__file__).parents[1] / "integrations" / "puppet"
TIMEOUT_S = 90.0
HIERA = """\
version: 5
hierarchy:
  - name: What is temporary
    lookup_key: backstay::parameters
"""
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


@dataclass(frozen=True)
class Applied:
    code: int  # 0: nothing to do; 2: altered; 4, 6: failures
    said: str


class Puppet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "puppet"
        environment = self.folder / "environments" / "production"
        self.modules = environment / "modules"
        self.modules.mkdir(parents=True)
        (environment / "hiera.yaml").write_text(HIERA)
        self.site = self.folder / "site.pp"

    def module(self, name: str, manifest: str) -> None:
        """A site's own module with this init.pp."""
        where = self.modules / name / "manifests"
        where.mkdir(parents=True)
        (where / "init.pp").write_text(manifest)

    def argv(self, certname: str, *more: str) -> list[str]:
        """`puppet apply` of the site's manifest, with exit codes that tell what was done."""
        folders = [f"--{name}dir={self.folder / name}" for name in ("conf", "var", "log", "run")]
        found = [PROGRAM or "puppet", "apply", "--detailed-exitcodes", "--color=false", *folders]
        found += [f"--environmentpath={self.folder / 'environments'}", f"--basemodulepath={MODULES}"]
        return [*found, f"--certname={certname}", *more, str(self.site)]

    async def apply(self, certname: str, *more: str, site: str | None = None) -> Applied:
        if site is not None:
            self.site.write_text(site)
        process = await asyncio.create_subprocess_exec(
            *self.argv(certname, *more), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=ENVIRONMENT,
        )  # fmt: skip
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate()
        assert process.returncode is not None
        return Applied(process.returncode, said.decode(errors="replace"))
