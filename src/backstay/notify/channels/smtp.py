"""E-mail: to a mail server that takes mail from this machine, a relay of one's own (RFC 5321).

TLS is used where the server offers it, without asking who it is (opportunistic, RFC 7435): a relay's certificate is
often nobody's, and a page in the clear is better than none. There is no login. `Message-ID` is made of the page's key,
so that mail programs fold a page that came twice.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime

from backstay.blocking import in_thread
from backstay.estate.model import Smtp
from backstay.notify import render
from backstay.notify.channels import http
from backstay.notify.model import Page
from backstay.notify.ports import SendFailed, SendRefused

SUBJECT_LIMIT = 200


class SmtpChannel:
    def __init__(self, declared: Smtp) -> None:
        self._declared = declared

    async def send(self, page: Page, *, timeout_s: float) -> str:
        mail = message(page, self._declared)
        try:
            return await in_thread(lambda: self._deliver(mail, timeout_s), timeout_s=timeout_s)
        except TimeoutError as error:
            raise SendFailed(f"no answer in {timeout_s:g} s {error}".rstrip()) from error

    def _deliver(self, mail: EmailMessage, timeout_s: float) -> str:
        """One conversation, in a thread."""
        try:
            with smtplib.SMTP(self._declared.host, self._declared.port, timeout=timeout_s) as server:
                server.ehlo()
                if server.has_extn("starttls"):
                    server.starttls(context=_unverified())
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise _told(_refused(error.recipients), [code for code, _ in error.recipients.values()]) from error
        except smtplib.SMTPResponseException as error:
            raise _told(_said(error.smtp_code, error.smtp_error), [error.smtp_code]) from error
        except smtplib.SMTPNotSupportedError as error:
            raise SendRefused(http.short(str(error))) from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise SendFailed(f"{type(error).__name__}: {http.short(str(error))}") from error
        return f"(refused: {_refused(refused)})" if refused else ""


def message(page: Page, declared: Smtp) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = declared.sender
    mail["To"] = ", ".join(declared.recipients)
    mail["Subject"] = render.one_line(f"[{page.severity}] {page.summary}", SUBJECT_LIMIT)
    mail["Date"] = format_datetime(page.at)
    mail["Message-ID"] = f"<{hashlib.sha256(page.key.encode()).hexdigest()[:32]}@backstay>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes back
    mail.set_content(render.text(page) + "\n")
    return mail


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _told(words: str, codes: list[int]) -> SendFailed:
    """4xx: another time (RFC 5321, 4.2.1). One recipient that may work later is worth another try."""
    return SendRefused(words) if all(code >= 500 for code in codes) else SendFailed(words)


def _refused(recipients: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{name} {_said(code, words)}" for name, (code, words) in recipients.items())


def _said(code: int, words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return http.short(f"{code} {text}")
