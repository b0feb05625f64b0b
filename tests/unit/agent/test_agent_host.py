"""What the agent needs of its machine: paths, systemd, certificates, the estate in force, the journal's pen."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from importlib.resources import files as package_files
from pathlib import Path

import pytest
from agent_fakes import ESTATE, make_world
from cryptography.hazmat.primitives.asymmetric import ec

from agent_certificates import HOUR, Authority, other_key, pem_of
from backstay import systemd
from backstay.agent import paths
from backstay.agent.host import checkpoint
from backstay.agent.host.adoption import Adopted, Adoption, Source
from backstay.agent.host.certificates import CertificateBroken, Certificates, check_pair
from backstay.agent.host.parse import EstateRefused, parse_apart, parse_here
from backstay.agent.paths import StateFiles
from backstay.agent.start import CannotStart, Options, load_world
from backstay.agent.world import World
from backstay.estate.model import FileSecret, Service, Tls

# --- paths -----------------------------------------------------------------------------------------------------------


def test_directories_follow_the_environment_then_root_then_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKSTAY_RUN_DIR", "BACKSTAY_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths.os, "geteuid", lambda: 0)
    assert paths.run_dir() == Path("/run/backstay")
    assert paths.state_dir("lb1") == Path("/var/lib/backstay/lb1")
    monkeypatch.setattr(paths.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/a/state")
    assert paths.run_dir() == Path("/run/user/1000/backstay")
    assert paths.state_dir("lb1") == Path("/srv/a/state/backstay/lb1")
    monkeypatch.setenv("BACKSTAY_RUN_DIR", "/r")
    monkeypatch.setenv("BACKSTAY_STATE_DIR", "/s")
    assert (paths.run_dir(), paths.state_dir("lb1")) == (Path("/r"), Path("/s/lb1"))


def test_a_socket_path_that_the_kernel_would_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter run directory"):
        paths.control_socket(Path("/" + "x" * 100), "lb1")


def test_a_node_name_that_is_a_path_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    options = Options(estate=tmp_path / "e.yaml", lb="../lb1", state=tmp_path / "state", run=tmp_path)
    with pytest.raises(CannotStart, match="no name of a node"):
        load_world(options)
    assert not (tmp_path / "state").exists()


# --- systemd ---------------------------------------------------------------------------------------------------------


def test_systemd_hears_how_the_agent_is_and_the_engine_inherits_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(systemd, "_told", {})
    assert not systemd.ready("nobody listens")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        systemd.take()
        assert "NOTIFY_SOCKET" not in systemd.os.environ
        assert systemd.watchdog_s() == 30.0
        assert systemd.ready("lb1 serves")
        assert listener.recv(1000) == b"READY=1\nSTATUS=lb1 serves"
        assert systemd.reloading()
        assert listener.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    text = package_files("backstay.agent").joinpath("backstay-agent@.service").read_text()
    unit = tmp_path / "backstay-agent@lb1.service"
    unit.write_text(text.replace("/usr/bin/backstay", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- certificates ----------------------------------------------------------------------------------------------------


class Shop:
    """A service with TLS whose files a test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = folder / "app.crt", folder / "app.key"
        tls = Tls(certificate="app.crt", key=FileSecret(file="app.key"))
        self.services = {"app": Service(hostnames=("a.example",), tls=tls)}
        self.kept = folder / "tls"
        self.store = Certificates(self.kept)

    def write(self, lasts: timedelta = HOUR) -> None:
        self.authority.pair(self.certificate, self.key, "a.example", lasts=lasts)

    def look(self) -> list[str]:
        return self.store.look(self.services, self.folder)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_good_pair_is_copied_and_looked_at_once(shop: Shop) -> None:
    shop.write()
    assert shop.look() == ["app"]
    assert shop.look() == []
    tls = shop.store.tls["app"]
    assert Path(tls.certificate_file).read_bytes() == shop.certificate.read_bytes()
    assert Path(tls.key_file).stat().st_mode & 0o777 == 0o600
    assert shop.store.faults == {}


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda shop: shop.key.write_bytes(other_key()), "does not belong to the certificate"),
        (lambda shop: shop.key.write_bytes(b""), "no PEM key"),
        (lambda shop: shop.certificate.write_bytes(shop.certificate.read_bytes()[:200]), "damaged"),
        (lambda shop: shop.certificate.unlink(), "No such file"),
        (lambda shop: shop.key.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1()), b"x")), "encrypted"),
        (lambda shop: shop.certificate.write_bytes(b"x" * (2**20 + 1)), "no certificate"),
        (lambda shop: shop.write(lasts=-HOUR), "expired"),
    ],
)
def test_a_broken_pair_is_refused_with_its_reason_and_the_last_good_one_goes_on(
    shop: Shop, break_it: object, words: str
) -> None:
    shop.write()
    shop.look()
    good = shop.store.tls["app"]
    break_it(shop)  # type: ignore[operator]
    assert shop.look() == ["app"]
    assert words in shop.store.faults["app"]
    assert shop.store.tls["app"] == good
    # The next agent finds the copy.
    after = Certificates(shop.kept)
    after.look(shop.services, shop.folder)
    assert after.tls["app"] == good or "expired" in after.faults["app"]


def test_an_expired_pair_serves_when_there_is_no_better_one_and_is_said(shop: Shop) -> None:
    shop.write(lasts=-HOUR)
    shop.look()
    assert "expired" in shop.store.faults["app"]
    assert "app" in shop.store.tls


def test_a_preview_alters_nothing(shop: Shop) -> None:
    shop.write()
    shop.look()
    good = shop.store.tls["app"]
    for _ in range(6):  # more than the copies that are kept
        shop.write()
        assert shop.store.preview(shop.services, shop.folder)["app"] != good
    assert shop.store.tls["app"] == good
    assert Path(good.certificate_file).exists()


def test_a_handshake_with_ourselves_tells_when_a_certificate_ends(shop: Shop) -> None:
    shop.write(lasts=HOUR)
    assert check_pair(shop.certificate, shop.key).not_after is not None
    with pytest.raises(CertificateBroken):
        check_pair(shop.key, shop.certificate)


# --- which estate is in force ----------------------------------------------------------------------------------------


class Estates:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "backstay.yaml"
        self.state = StateFiles(folder / "state")
        self.state.root.mkdir()
        self.file.write_text(ESTATE)

    def start(self) -> Adopted:
        self.adoption = Adoption(self.file, "lb1", self.state, parse_here)
        return self.adoption.start()


@pytest.fixture
def estates(tmp_path: Path) -> Estates:
    return Estates(tmp_path)


def test_the_file_is_in_force_until_another_estate_is_applied(estates: Estates) -> None:
    assert estates.start().source is Source.FILE
    applied = estates.adoption.parse(ESTATE.replace("estate: small", "estate: other"))
    estates.adoption.keep(applied)
    again = estates.start()
    assert (again.source, again.estate.estate) == (Source.APPLIED, "other")
    assert estates.adoption.reread(again) is again
    estates.file.write_text(ESTATE + "# altered\n")
    assert estates.adoption.reread(again).source is Source.FILE
    assert estates.start().estate.estate == "small"


def test_a_bad_file_falls_back_to_the_last_good_estate_and_says_so(estates: Estates) -> None:
    good = estates.start()
    estates.adoption.keep(good)
    for bad in ("", "estate: [", ESTATE.replace("members: [lb1]", "members: [web1]"), "\0"):
        estates.file.write_text(bad)
        adopted = estates.start()
        assert adopted.source is Source.LAST_GOOD
        assert "refused" in adopted.warning
    estates.state.estate.write_bytes(b"\xff")
    with pytest.raises(EstateRefused):
        estates.start()


def test_an_estate_parsed_in_a_process_of_its_own_is_the_same(estates: Estates) -> None:
    example = Path(__file__).parents[3] / "examples" / "serverdensity.yaml"
    assert parse_apart(example, example.parent) == parse_here(example, example.parent)
    text = example.read_text()
    assert parse_apart(text, example.parent) == parse_here(text, example.parent)
    for bad in (estates.file.parent / "none.yaml", "estate: [", "\ud800", "a: \0"):
        with pytest.raises(EstateRefused):
            parse_apart(bad, estates.file.parent)


# --- the pen and the checkpoint --------------------------------------------------------------------------------------


def test_a_journal_that_takes_nothing_is_said_once_and_survived(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from backstay.journal.model import JournalError

    def full(event: object) -> None:
        raise JournalError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(world.record.spool, "append", full)
        assert world.record("backend.down", "node/web1", "why")
        assert world.record.fault == "no room"
    world.record("backend.up", "node/web1", "why")
    assert world.record.fault == ""


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 99}', "\0" * 10])
def test_a_damaged_checkpoint_is_said_and_left_out(tmp_path: Path, content: str) -> None:
    world = make_world(tmp_path)
    world.files.checkpoint.write_text(content)
    sections, fault = checkpoint.load(world.files)
    assert sections == {}
    assert "Looking anew" in fault
