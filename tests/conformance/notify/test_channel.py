"""What every channel must keep: one call, one request; an answer is believed only when it is one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from notify_pages import PAGE
from notify_servers import Rig, smtp_rig

from backstay.lab.provider import Answer
from backstay.notify import SendFailed, SendRefused

LONG_S = 30.0
SHORT_S = 1.0


async def test_a_page_arrives_with_all_that_it_says(rig: Rig) -> None:
    await rig.channel().send(PAGE, timeout_s=LONG_S)

    ((_, text),) = rig.inbox.got
    for words in (PAGE.summary, *PAGE.seen, *PAGE.done, *PAGE.not_done, *PAGE.commands.values(), "lb2"):
        assert words in text


async def test_the_same_page_sent_twice_has_one_key(rig: Rig) -> None:
    channel = rig.channel()
    await channel.send(PAGE, timeout_s=LONG_S)
    await channel.send(PAGE, timeout_s=LONG_S)
    await channel.send(replace(PAGE, key="another"), timeout_s=LONG_S)

    first, second, other = (key for key, _ in rig.inbox.got)
    assert first == second
    if rig.name != "slack":  # a webhook cannot fold
        assert first != other


@pytest.mark.parametrize("answer", [Answer.DOWN, Answer.CUT, Answer.NONSENSE, Answer.RATE_LIMITED])
async def test_what_is_not_taken_is_worth_another_try_and_is_not_tried_behind_our_back(
    rig: Rig, answer: Answer
) -> None:
    rig.faults.set(answer)
    with pytest.raises(SendFailed) as caught:
        await rig.channel().send(PAGE, timeout_s=LONG_S)
    assert not isinstance(caught.value, SendRefused)
    assert rig.inbox.asked == 1


@pytest.mark.not_for("smtp", "SMTP has no Retry-After")
async def test_the_wait_that_a_channel_names_is_passed_on(rig: Rig) -> None:
    rig.faults.set(Answer.RATE_LIMITED)
    with pytest.raises(SendFailed) as caught:
        await rig.channel().send(PAGE, timeout_s=LONG_S)
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize("answer", [Answer.DENIED, Answer.ERROR])
async def test_what_a_person_must_mend_is_told_apart(rig: Rig, answer: Answer) -> None:
    rig.faults.set(answer)
    with pytest.raises(SendRefused):
        await rig.channel().send(PAGE, timeout_s=LONG_S)
    assert rig.inbox.asked == 1


async def test_a_server_that_never_answers_ends_in_time(rig: Rig) -> None:
    rig.faults.set(Answer.HANG)
    with pytest.raises(SendFailed):
        await rig.channel().send(PAGE, timeout_s=SHORT_S)


async def test_a_server_that_is_not_there_is_worth_another_try(rig: Rig, unused_tcp_port: int) -> None:
    nobody = f"http://127.0.0.1:{unused_tcp_port}"
    notify = rig.notify
    if notify.pagerduty is not None:
        notify = notify.model_copy(update={"pagerduty": notify.pagerduty.model_copy(update={"endpoint_url": nobody})})
    elif notify.smtp is not None:
        notify = notify.model_copy(update={"smtp": notify.smtp.model_copy(update={"port": unused_tcp_port})})
    else:
        (rig.folder / f"{rig.name}.secret").write_text(nobody)
    rig.notify = notify
    with pytest.raises(SendFailed) as caught:
        await rig.channel().send(PAGE, timeout_s=LONG_S)
    assert not isinstance(caught.value, SendRefused)


@pytest.mark.not_for("smtp", "the relay takes mail from this machine without a secret")
async def test_a_secret_that_is_not_there_is_said_and_one_that_comes_is_in_force_at_once(rig: Rig) -> None:
    secret = rig.folder / f"{rig.name}.secret"
    held = secret.read_text()
    secret.unlink()
    channel = rig.channel()
    with pytest.raises(SendRefused, match=r"\.secret"):
        await channel.send(PAGE, timeout_s=LONG_S)

    secret.write_text(held)
    await channel.send(PAGE, timeout_s=LONG_S)

    assert len(rig.inbox.got) == 1


@pytest.mark.not_for("smtp", "it has none")
async def test_no_message_tells_a_secret(rig: Rig) -> None:
    secret = (rig.folder / f"{rig.name}.secret").read_text().strip()
    for answer in (Answer.DOWN, Answer.DENIED, Answer.CUT, Answer.NONSENSE):
        rig.faults.set(answer)
        with pytest.raises(SendFailed) as caught:
            await rig.channel().send(PAGE, timeout_s=LONG_S)
        assert secret not in str(caught.value)


async def test_texts_of_others_stay_text(rig: Rig) -> None:
    """An engine's error message is in the page; it may hold anything."""
    evil = replace(PAGE, summary="dead\r\nBcc: all@example.com", seen=("<!channel> ``` {{ }} \x1b[2J",))
    await rig.channel().send(evil, timeout_s=LONG_S)
    ((_, text),) = rig.inbox.got
    assert "\x1b" not in text
    assert "<!channel>" not in text or rig.name != "slack"
    assert "dead Bcc: all@example.com" in text


async def test_a_call_may_be_cancelled(rig: Rig) -> None:
    rig.faults.set(Answer.HANG)
    sending = asyncio.create_task(rig.channel().send(PAGE, timeout_s=LONG_S))
    async with asyncio.timeout(LONG_S):
        while not rig.inbox.asked:
            await asyncio.sleep(0.01)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_recipient_that_is_refused_is_named_and_the_others_get_it(tmp_path: Path) -> None:
    async with smtp_rig(tmp_path, refused=("night@example.com",)) as rig:
        said = await rig.channel().send(PAGE, timeout_s=LONG_S)
        assert len(rig.inbox.got) == 1
    assert "night@example.com 550 5.1.1 no such user" in said


async def test_when_every_recipient_is_refused_so_is_the_page(tmp_path: Path) -> None:
    async with smtp_rig(tmp_path, refused=("night@example.com", "ops@example.com")) as rig:
        with pytest.raises(SendRefused, match="no such user"):
            await rig.channel().send(PAGE, timeout_s=LONG_S)
