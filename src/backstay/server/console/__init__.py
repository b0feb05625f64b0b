"""The console: pages rendered on the server, useful without JavaScript, live with it.

    router.py      every page's routes
    rooms/         handlers, a module a page family: what is asked -> which view -> which template
    draw.py        Jinja2: `draw(request, template, status=..., **context)`, and what templates draw with
    forms.py       what people submit, read and checked
    files.py       /static/: read once, compressed once, named by content
    templates/     base.html (the frame), parts.html (macros), one folder a page family; access/ is server/access's
    static/        console.css, console.js, icons.svg; vendor/ has htmx and uPlot with their hashes (ADR 0141)

A page extends `frame` (base.html, or live.html when htmx asks for the live part alone) and fills:

    {% extends frame %}
    {% block title %}Log in{% endblock %}
    {% block main %}...{% endblock %}     the page; `{% block live %}` instead for what is refreshed on events

Classes of console.css that pages are made of (no style attributes: the CSP refuses them):

    page      .head (h1, .lead, .actions)  .stack  .columns  .thirds  .narrow (a lone form, as the login)
    card      .card > header, .body, footer    .note.ok|warn|bad|info (icon and a div)    .facts (a dl)   .figures
    table     .scroll > table, .num (right-aligned)   .pager
    form      .form > .field (label, input, .hint, .fault), .row (fields side by side), .choices > label.choice,
              .buttons   button, .primary, .danger, .plain; links that look so: .button
    words     .state.ok|warn|bad|info|idle (icon and word)   .chip   .quiet   .small   .mono   .sr   .nowrap   .num

Templates draw with `icon(name)`, `state(standing)`, `moment(time)`, `relative(time, now)`, `lasting(seconds)`,
`number(value, digits, unit)`, `bar(share)`, `listed(names)`, `counted(n, one)`. Every page has `principal` (None:
nobody), `csrf`, `may(role)`, `path`, `here`, `estate`, `now` and `top` (the frame: estate, revision, trouble, pages).
"""
