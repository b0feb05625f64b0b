"""`backstay user` and `backstay token` over a server's database: secrets on stdout alone, refusals with their code."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backstay.cli.output import Exit
from backstay.cli.user import token, user
from backstay.journal.store import Database
from backstay.server.access.registry import Registry
from backstay.server.model import Role

WHY = ["--reason", "for a test"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "server.yaml").write_text("base_url: https://backstay.example\n")
    return tmp_path


def run(state: Path, *words: str, typed: str = "") -> Result:
    app = {"user": user, "token": token}[words[0]]
    return CliRunner().invoke(app, [*words[1:], "--state-dir", str(state)], input=typed)


def test_a_user_is_added_with_a_link_and_given_another_role(state: Path) -> None:
    added = run(state, "user", "add", "Alice", "--role", "admin", *WHY)
    assert added.stdout.startswith("https://backstay.example/welcome/bsl_")
    assert added.stdout.count("\n") == 1
    assert run(state, "user", "add", "bob", "--role", "viewer", *WHY).exit_code == Exit.DONE
    assert run(state, "user", "role", "bob", "operator", *WHY).exit_code == Exit.DONE
    assert run(state, "user", "link", "bob", *WHY).stdout.startswith("https://")
    listed = run(state, "user", "list", "-o", "json").stdout
    assert '"operator"' in listed
    assert "bsl_" not in listed


def test_a_password_is_piped_in_and_a_bad_one_refused(state: Path) -> None:
    run(state, "user", "add", "alice", "--role", "admin", *WHY)
    bad = run(state, "user", "password", "alice", *WHY, typed="short\n")
    assert (bad.exit_code, "12 to 256" in bad.stderr) == (Exit.FAILED, True)
    assert run(state, "user", "password", "alice", *WHY, typed="correct horse battery staple\n").exit_code == Exit.DONE
    assert '"password"' in run(state, "user", "list", "-o", "json").stdout


def test_disabling_asks_and_the_last_admin_stays(state: Path) -> None:
    run(state, "user", "add", "alice", "--role", "admin", *WHY)
    run(state, "user", "add", "bob", "--role", "admin", *WHY)
    assert run(state, "user", "disable", "bob", *WHY).exit_code == Exit.USAGE  # no terminal to ask at
    assert run(state, "user", "disable", "bob", "--yes", *WHY).exit_code == Exit.DONE
    refused = run(state, "user", "disable", "alice", "--yes", *WHY)
    assert (refused.exit_code, "last admin" in refused.stderr) == (Exit.FAILED, True)
    assert run(state, "user", "enable", "bob", *WHY).exit_code == Exit.DONE


def test_tokens_are_made_listed_and_revoked(state: Path) -> None:
    made = run(state, "token", "create", "deploy", "--role", "operator", "--room", "changes", "--for", "30d", *WHY)
    assert made.stdout.startswith("bst_")
    assert run(state, "token", "create", "forever", "--for", "ever", *WHY).exit_code == Exit.DONE
    listed = run(state, "token", "list", "-o", "json").stdout
    assert '"changes"' in listed
    assert "bst_" not in listed
    assert run(state, "token", "revoke", "deploy", *WHY).exit_code == Exit.DONE
    assert run(state, "token", "revoke", "deploy", *WHY).exit_code == Exit.FAILED
    assert run(state, "token", "join", "lb1", *WHY).stdout.startswith("bsj_")


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add", "bob", "--role", "king", *WHY),
        ("token", "create", "x", "--for", "a while", *WHY),
    ],
)
def test_a_bad_word_is_a_usage_error_and_alters_nothing(state: Path, words: tuple[str, ...]) -> None:
    refused = run(state, *words)
    assert refused.exit_code == Exit.USAGE
    assert refused.stdout == ""


def test_a_folder_where_no_server_was_made_is_left_as_it_is(tmp_path: Path) -> None:
    refused = run(tmp_path, "user", "list")
    assert (refused.exit_code, "backstay server init" in refused.stderr) == (Exit.USAGE, True)
    assert list(tmp_path.iterdir()) == []


def test_what_the_command_line_does_a_server_sees(state: Path) -> None:
    run(state, "user", "add", "alice", "--role", "admin", *WHY)
    database = Database(f"sqlite:///{state}/server.db")
    (alice,) = Registry(database).people.users()
    database.close()
    assert (alice.name, alice.role) == ("alice", Role.ADMIN)
