"""How the tests look at the console: themes and widths, a page that hears every complaint, windows of a user's."""

from __future__ import annotations

from dataclasses import dataclass

from console_rig import PASSWORD, Console
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

WAIT_MS = 15_000


@dataclass(frozen=True)
class Look:
    """How somebody looks at it."""

    theme: str
    width: int

    def __str__(self) -> str:
        return f"{self.theme}-{self.width}"


LOOKS = (Look("light", 1280), Look("dark", 1280), Look("light", 390))


class Watched:
    """A page, and everything that it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def look(self, look: Look) -> None:
        self.page.emulate_media(color_scheme="dark" if look.theme == "dark" else "light")
        self.page.set_viewport_size({"width": look.width, "height": 800})


def context_of(browser: Browser, console: Console, name: str, *, javascript: bool = True) -> BrowserContext:
    """A browser's window in which that user is logged in."""
    context = browser.new_context(java_script_enabled=javascript, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(f"{console.url}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url(f"{console.url}/")
    page.close()
    return context
