"""One Jinja environment for every page, what its templates draw with, and what the frame of a page shows.

A template has, beside what its page gives it: `principal` (None: nobody is logged in), `csrf` (the token of a hidden
field), `may(role)`, `path`, `here`, `now`, `top` and `frame`. A name that is missing is an error, never an empty
string.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backstay.server.access.depends import refreshes_itself
from backstay.server.access.tokens import csrf_token
from backstay.server.console.files import static
from backstay.server.model import Principal, Role, Snapshot
from backstay.server.views.attention import Item, items
from backstay.server.views.scene import Memo, Scene
from backstay.server.views.scene.words import Standing, Tone, counted, listed, worst

THEMES = ("light", "dark")


# --- parts of pages -------------------------------------------------------------------------------------------------


@cache
def icon(name: str) -> Markup:
    """A picture of icons.svg. It stands beside words, so that screen readers leave it out."""
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>').format(static("icons.svg"), name)


@lru_cache(1024)  # a standing may name load balancers
def state(standing: Standing) -> Markup:
    """A state: icon, word, colour."""
    return Markup('<span class="state {}">{}{}</span>').format(
        standing.tone.value, icon(standing.picture), standing.word
    )


def iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(time: datetime | None) -> Markup:
    """A time in UTC, to the second; the year in full where one points at it."""
    if time is None:
        return Markup('<span class="quiet">never</span>')
    full, short = f"{time:%Y-%m-%d %H:%M:%S} UTC", f"{time:%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(time), full, short)


def relative(time: datetime | None, now: datetime) -> Markup:
    """A time as people say it: "3 min ago", "in 28 min". The script counts it on."""
    if time is None:
        return Markup('<span class="quiet">never</span>')
    away_s = (time - now).total_seconds()
    words = f"in {lasting(away_s)}" if away_s > 0 else f"{lasting(-away_s)} ago"
    shape = '<time data-relative class="nowrap" datetime="{}" title="{}">{}</time>'
    return Markup(shape).format(iso(time), f"{time:%Y-%m-%d %H:%M:%S} UTC", words)  # noqa: S704 - the shape is ours


def lasting(seconds: float) -> str:
    """As console.js says it: "45 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"


def number(value: float | None, digits: int = 0, unit: str = "") -> Markup:
    """A number, with its unit; a dash where there is none."""
    if value is None:
        return Markup('<span class="quiet"><span aria-hidden="true">–</span><span class="sr">not known</span></span>')
    return Markup("{}{}").format(f"{value:,.{digits}f}", f" {unit}" if unit else "")


def bar(share: float, most: float = 1.5) -> Markup:
    """A share as a bar; the tick is a full share."""
    width, full = min(share, most) / most * 100, 100 / most
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="back" width="100%" height="100%"/>'
        '<rect class="front" width="{}%" height="100%"/><line class="full" x1="{}%" x2="{}%" y1="0" y2="100%"/></svg>'
    ).format(f"{width:.1f}", f"{full:.1f}", f"{full:.1f}")


@cache
def environment() -> Environment:
    """Escapes by itself, and refuses what is not there."""
    made = Environment(
        loader=PackageLoader("backstay.server", "console/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "bar": bar,
        "counted": counted,
        "icon": icon,
        "lasting": lasting,
        "listed": listed,
        "moment": moment,
        "number": number,
        "relative": relative,
        "state": state,
        "static": static,
    }
    return made


def draw(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The template as an answer. Who asks is `request.state.principal`, where a dependency has found it."""
    principal: Principal | None = getattr(request.state, "principal", None)

    def may(role: str) -> bool:
        return principal is not None and principal.role is not None and principal.role.covers(Role(role))

    text = (
        environment()
        .get_template(template)
        .render(
            principal=principal,
            csrf=csrf_token(request),
            may=may,
            path=request.url.path,
            **_frame(request, principal),
            **context,
        )
    )
    return HTMLResponse(text, status)


# --- the frame ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An entry of the navigation."""

    path: str
    name: str
    icon: str
    role: str | None = None  # that it needs; None: anybody who is logged in
    rule: bool = False  # a line above it
    count: int = 0
    counted: str = ""  # what is counted, for screen readers
    tone: str = ""
    others: tuple[str, ...] = ()  # further paths below which it is the current page

    def has(self, path: str) -> bool:
        if self.path == "/":
            return path == "/"
        return any(path == one or path.startswith(one + "/") for one in (self.path, *self.others))


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """What the frame shows of the whole."""

    estate: str
    revision: int
    trouble: tuple[str, ...]
    pages: tuple[Page, ...]


def memo_of(request: Request) -> Memo:
    """The one that keeps what was read of reports and estates, for this process."""
    state = request.app.state
    if not hasattr(state, "memo"):
        state.memo = Memo()
    memo = state.memo
    assert isinstance(memo, Memo)
    return memo


def scene_of(request: Request) -> Scene:
    """The newest snapshot as it is seen now; the same one for all parts of one page."""
    if not hasattr(request.state, "scene"):
        server = request.app.state.server
        snapshot: Snapshot = server.snapshot()
        request.state.scene = memo_of(request).scene(snapshot, server.now())
    scene = request.state.scene
    assert isinstance(scene, Scene)
    return scene


def attention_of(request: Request) -> list[Item]:
    """What needs a person; found once a scene, which all share who look within a second (Memo)."""
    state, scene = request.app.state, scene_of(request)
    if getattr(state, "attended", None) is not scene:
        state.attention = items(scene) if scene.snapshot.estate is not None else []
        state.attended = scene
    found: list[Item] = state.attention
    return found


def top(scene: Scene, attention: list[Item]) -> Top:
    """The frame of a page."""
    snapshot = scene.snapshot
    batches = len({change.batch for change in snapshot.changes})
    enrolled = sum(record.revoked_at is None for record in snapshot.agents.values())
    away = enrolled - sum(scene.connected(lb) for lb in snapshot.agents)
    grave = worst(item.tone for item in attention)
    pages = (
        Page(path="/", name="Overview", icon="overview", count=len(attention), counted="need a person",
             tone=grave.value if grave in (Tone.WARN, Tone.BAD) else ""),
        Page(path="/balance", name="Balance", icon="balance"),
        Page(path="/nodes", name="Nodes", icon="nodes"),
        Page(path="/failover", name="Failover", icon="failover"),
        Page(path="/changes", name="Changes", icon="changes", count=batches, counted="in force", tone="info"),
        Page(path="/runs", name="Runs", icon="run"),
        Page(path="/journal", name="Journal", icon="journal"),
        Page(path="/audit", name="Audit", icon="audit"),
        Page(path="/agents", name="Agents", icon="agents", rule=True, count=away, counted="not connected", tone="warn",
             others=("/admin/agents",)),
        Page(path="/estate", name="Estate", icon="estate"),
        Page(path="/admin/users", name="Users", icon="user", role=Role.ADMIN.value),
        Page(path="/tokens", name="Tokens", icon="quarantined"),
    )  # fmt: skip
    adopted = snapshot.estate.estate if snapshot.estate is not None else ""
    return Top(estate=adopted, revision=snapshot.revision, trouble=snapshot.trouble, pages=pages)


def _frame(request: Request, principal: Principal | None) -> dict[str, Any]:
    """What is around a page.

    `frame`: what it extends: the whole page, or its live part alone when htmx asks for it again. `here`: its own
    address. `top`: None where nobody is logged in, or for the live part.
    """
    theme = request.cookies.get("theme", "")
    query = f"?{request.url.query}" if request.url.query else ""
    live = refreshes_itself(request)
    scene = scene_of(request) if principal is not None else None
    return {
        "frame": "live.html" if live else "base.html",
        "here": request.url.path + query,
        "estate": "" if scene is None or scene.snapshot.estate is None else scene.snapshot.estate.estate,
        "theme": theme if theme in THEMES else "",
        "now": request.app.state.server.now() if scene is None else scene.now,
        "top": None if scene is None or live else top(scene, attention_of(request)),
    }
