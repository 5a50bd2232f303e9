"""The local page, as both stations have it: its guard, its events, its work, its templates and styles.

A station makes a `Site`, declares pages and actions on it, and serves it:

    site = Site(
        "offline-station",                      # the program
        Text("开票机", "invoicing PC"),          # what stands in the window's title
        folder=home.root / "page",              # the page's own: tickets, uploads (0700)
        log=home.root / "log",                  # records of defects
        clock=clock,
        templates=("offline_station.web", "templates"),   # a package, and its folder of templates
        pc=OFFLINE_PC,
    )
    site.navigation = [("/", Text("首页", "Home")), …]
    site.common = lambda visit: {…}             # values that every template sees
    site.reword = lambda card: card             # fault cards in the page's own words
    site.before = lambda visit: None            # an answer that takes a page's place (sign in first), or None

    @site.page("/history/{nonce}")              # GET
    def one(visit: Visit) -> Answer:
        return Page("history.html", life=find(visit.parts["nonce"]))

    @site.action("/copy")                       # POST; the form's token has been checked
    def copy(visit: Visit) -> Answer:
        work = site.bench.start("copy", Text("抄税处理", "copying"), visit.session.operator, do)
        return Go(f"/progress/{work.id}")           # 303

An answer is a `Page(template, status=200, **values)`, a `Go(path)` or a `Download(name, kind, chunks)`. Handlers are
plain functions in a thread. A `TaxferryError` (or a foreseeable failure of the system) that leaves a handler is shown
as a fault card; anything else is recorded in `log` and shown as B5099. Uploaded files are in `visit.files[field]`;
an action that takes them says how large they may be (`max_bytes=`).

**Work.** `site.bench.start(name, title, operator, do)` runs `do(progress)` in a thread of its own, one at a time
(`PageBusy` otherwise); `progress(done, total, what)` is what the verbs take. It waits a moment, so that short work is
finished when the next page is drawn. `site.bench.find(id)` gives the `Work` with `finished`, `outcome`, `error`.
While work is under way, `base.html` shows its bar on every page: live by events, or by refreshing itself where there
is no JavaScript. `site.hub.publish("changed")` (any thread) lets windows whose `<body>` is marked show what is new:
`{% block live %} data-live{% endblock %}`.

**Templates** extend `base.html` (blocks: `title`, `head`, `live`, `who`, `content`) and draw with the macros of
`blocks.html`, there as `b`: `b.token()` (in every form), `b.next_step(NextStep)`, `b.fault(FaultCard)`,
`b.lifeline([Leg])`, `b.steps([MonthStep])`, `b.lock_date(day, days, locked, label)`, `b.facts([(name, value)])`,
`b.progress(work)`, `b.icon(name)`. The values they draw are in `shared.web.blocks`; `card_of_error` and
`card_of_fault` make fault cards. Words are pairs: `{{ t("中文", "English") }}`; a `Text` renders in the language of
the request. `yuan(fen)`, `when(time)`, `asset(name)` and the filter `u` (for a part of an address) are there too.
No inline script and no inline style: the policy forbids both.

**Serving.** `serving.listen(port)` gives a socket on 127.0.0.1; `serving.serve(site, socket, ready, stop)` serves until
the event is set; `serving.claimed(folder)` keeps a second process from serving the same home (it issues a ticket of
the first one instead, see `tickets`); `serving.open_browser(folder, site.address(port, OPENED_SECONDS))` opens it.

The guard (`guard.py`) refuses, before any handler: connections of another user of this PC, wrong hosts, other
methods, other sites, too large bodies, windows without a session. Nothing here imports the framework but `site.py`
and `serving.py`, and no other module of `shared` imports this package.
"""
