"""The page of `thresh report` in a headless Chromium: it renders, filters, searches, goes by keyboard, and what is hostile in it stays text.

    run_page.py MAKE_PAGE          TAP; skipped where there is no Chromium (Debian: chromium-headless-shell or chromium)
"""
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile

import devtools

FOUND = '[...document.querySelectorAll("#list li:not([hidden])")].map(e => e.firstChild.textContent)'
CURRENT = 'document.querySelector("#list [aria-selected=true]")?.firstChild.textContent'
DETAIL = 'document.getElementById("detail")'
# Puts a value where a reader would.
SET = '((id, value) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event("input", {bubbles: true})); })'
CONTRAST = '''(() => {
    const light = (colour) => { const c = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; };
    const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
    const bad = new Set();
    for (const e of document.querySelectorAll("body *")) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.matches("script, option")) continue;
        const style = getComputedStyle(e), a = light(e.closest("svg") ? style.fill : style.color), b = light(ground(e));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) bad.add(e.tagName + "." + (e.getAttribute("class") || "") + " " + ratio.toFixed(2));
    }
    return [...bad];
})()'''
OUTLINE = '''(() => {
    const wrong = [], ids = [...document.querySelectorAll("[id]")].map(e => e.id);
    if (new Set(ids).size !== ids.length) wrong.push("an id stands twice");
    let level = 0;
    for (const h of document.querySelectorAll("main h1, main h2, main h3, header h1, header h2")) {
        const n = Number(h.tagName[1]);
        if (n > level + 1) wrong.push("after a heading " + level + " comes " + h.textContent);
        level = n;
    }
    document.querySelectorAll("th:not([scope])").forEach(e => wrong.push("a heading cell without scope: " + e.textContent));
    document.querySelectorAll("table").forEach(e => e.querySelector("th") || wrong.push("a table without headings"));
    document.querySelectorAll("svg:not([aria-hidden])").forEach(e => e.getAttribute("role") === "img" && e.getAttribute("aria-label") || wrong.push("a picture without words"));
    document.querySelectorAll("input, select").forEach(e => e.labels.length || wrong.push("a field without label: " + e.id));
    document.querySelectorAll("a[href^='#']").forEach(e => e.hash.startsWith("#c") || document.querySelector(e.hash) || wrong.push("a link to nowhere: " + e.hash));
    return wrong;
})()'''


class Tests:
    def __init__(self, browser, path):
        self.browser, self.path = browser, path

    def open(self, **how):
        return self.browser.open(self.path, **how)

    def it_renders_without_complaints(self):
        page = self.open()
        assert page.run('document.querySelector("h1").textContent') == 'Run night finished'
        assert page.run('document.getElementById("browser").checkVisibility()')
        assert page.run(FOUND + '.length') == 120
        assert page.run('document.querySelectorAll("rect.accepted").length') > 20
        assert page.run('document.querySelectorAll("line.course").length') >= 3
        assert page.complaints() == [], page.complaints()

    def it_says_what_stands_out(self):
        page = self.open()
        notes = page.run('[...document.querySelectorAll(".notes li")].map(e => e.textContent)')
        assert "The gate said no: accepted > 1 and '<b>' = 'x' (<i>)" in notes, notes
        assert any(n.startswith('Acceptance rose from 20.0 % in first to 49.2 %') for n in notes), notes
        assert page.run('[...document.querySelectorAll("#nights figcaption")].map(e => e.textContent)').count('pass@1 50.0\xa0%') == 1

    def it_asks_for_nothing_but_itself(self):
        page = self.open()
        for _ in range(20):
            page.key('ArrowDown')
        page.run('document.querySelectorAll("details").forEach(d => d.open = true)')
        page.run('new Promise(done => setTimeout(done, 50))')
        assert [u.rsplit('/', 1)[1] for u in page.requests()] == ['report.html'], page.requests()

    def hostile_texts_stay_text(self):
        page = self.open()
        page.run('document.querySelectorAll("details").forEach(d => d.open = true)')
        expected = {1: '<script>window.owned = 1</script> \\boxed{7}', 2: '</script><script>window.owned = 2</script><!-- \\boxed{7}',
                    3: '<img src="http://127.0.0.1:9/x.png" onerror="window.owned = 3"> \\boxed{7}',
                    4: '" autofocus onfocus="window.owned = 4" x="\' \\boxed{7}', 5: '<svg><animate onbegin=window.owned=5 attributeName=x dur=1s> \\boxed{7}',
                    6: '<style>*{display:none}</style><link rel=stylesheet href=http://127.0.0.1:9/> \\boxed{7}',
                    7: 'nul NUL esc ESC[2J bidi U+202E line U+2028 bad \\xff\\xc3( \\boxed{7}',
                    8: '{{7*7}} ${7*7} javascript:window.owned=6 data:text/html,x \\boxed{7}'}
        for prompt, text in expected.items():
            page.run(f'location.hash = "#c{prompt}.0"')
            page.run('new Promise(done => setTimeout(done, 10))')
            assert page.run(DETAIL + '.querySelector(".text").textContent') == text, page.run(DETAIL + '.textContent')
            assert page.run(DETAIL + '.querySelector("mark.answer").textContent') == '7'
        assert page.run('document.querySelectorAll("#detail :not(h3, p, span, mark, div, table, thead, tbody, tr, th, td)").length') == 0
        assert page.run('window.owned') is None
        assert page.run('document.title') == '</title><script>window.owned = 7</script> night'
        assert page.run('document.scripts.length') == 2 and page.run('document.styleSheets.length') == 1
        assert page.run('document.querySelectorAll("img, link, iframe, object, embed, animate, b script, u, i").length') == 0
        assert page.complaints() == [], page.complaints()

    def its_policy_lets_nothing_else_run_or_load(self):
        page = self.open()
        page.run('{ const s = document.createElement("script"); s.textContent = "window.owned = 8"; document.body.append(s); }')
        page.run('document.body.setAttribute("onclick", "window.owned = 9"); document.body.click()')
        page.run('{ const s = document.createElement("style"); s.textContent = "h1 { display: none }"; document.head.append(s); }')
        failed = page.run('new Promise(done => { const i = new Image(); i.onerror = () => done("refused"); i.onload = () => done("loaded"); '
                          'i.src = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="; })')
        assert failed == 'refused'
        assert page.run('window.owned') is None and page.run('document.querySelector("h1").checkVisibility()')
        assert len(page.complaints()) >= 4, page.complaints()

    def long_texts_say_what_is_left_out(self):
        page = self.open()
        page.run('location.hash = "#c9.0"')
        page.run('new Promise(done => setTimeout(done, 10))')
        text = page.run(DETAIL + '.querySelector(".text").textContent')
        assert 'bytes left out' in text and text.endswith('\\boxed{7}') and len(text) < 8000

    def a_text_that_was_pruned_is_missed(self):
        page = self.open()
        page.run('location.hash = "#c60.0"')
        page.run('new Promise(done => setTimeout(done, 10))')
        assert 'does not have its text any more' in page.run(DETAIL + '.textContent')
        assert page.run(DETAIL + '.querySelector(".text")') is None

    def it_filters(self):
        page = self.open()
        every = page.run(FOUND)
        for field, value in (('state', 'rejected'), ('source', '<i>pears</i>'), ('reason', 'math: different')):
            page.run(SET + f'("{field}", "{value}")')
        few = page.run(FOUND)
        assert 0 < len(few) < len(every) and set(few) < set(every)
        assert all(int(c.split('.')[0]) % 3 == 0 for c in few)
        assert page.run('document.getElementById("shown").value') == f'{len(few)} of 120'
        assert page.run(CURRENT) == few[0]
        assert 'different' in page.run(DETAIL + '.textContent') and 'rejected' in page.run(DETAIL + '.textContent')
        page.run('document.querySelector("#filters button").click()')
        page.run('new Promise(done => setTimeout(done, 10))')
        assert page.run(FOUND) == every

    def it_searches(self):
        page = self.open()
        page.run('document.getElementById("search").focus()')
        page.type('QUESTION 42')
        assert page.run(FOUND) == ['42.0', '42.1']
        assert page.run('[...document.querySelectorAll("#detail mark.hit")].map(e => e.textContent)') == ['Question 42', 'question 42']
        page.run(SET + '("search", "<script>window")')
        assert page.run(FOUND) == ['1.0', '1.1', '2.0', '2.1']
        page.run(SET + '("search", "42.1")')
        assert page.run(FOUND) == ['42.1']
        page.run(SET + '("search", "no text says this")')
        assert page.run(FOUND) == [] and page.run(DETAIL + '.textContent') == 'Nothing fits.'

    def it_goes_by_keyboard(self):
        page = self.open()
        focus = 'document.activeElement.id'
        every = page.run(FOUND)
        page.key('/')
        assert page.run(focus) == 'search' and page.run('document.getElementById("search").value') == ''
        page.type('question 1')
        few = page.run(FOUND)
        assert 2 < len(few) < len(every)
        page.key('ArrowDown')
        assert page.run(focus) == 'list' and page.run(CURRENT) == few[0]
        page.key('ArrowDown')
        assert page.run(CURRENT) == few[1]
        assert page.run('document.getElementById("list").getAttribute("aria-activedescendant")') == page.run('document.querySelector("#list [aria-selected=true]").id')
        page.key('End')
        assert page.run(CURRENT) == few[-1]
        page.key('ArrowDown')
        assert page.run(CURRENT) == few[-1]
        page.key('Home')
        assert page.run(CURRENT) == few[0]
        page.key('Tab')
        assert page.run(focus) == 'detail'
        page.key('/')
        page.key('Escape')
        page.run('new Promise(done => setTimeout(done, 10))')
        assert page.run(FOUND) == every

    def what_has_the_focus_shows_it(self):
        page = self.open()
        seen, without = set(), []
        for _ in range(60):
            page.key('Tab')
            what = page.run('(() => { const e = document.activeElement, s = getComputedStyle(e); return [e.tagName + "#" + e.id, s.outlineStyle, parseFloat(s.outlineWidth)]; })()')
            seen.add(what[0])
            if what[0] != 'BODY#' and (what[1] == 'none' or what[2] < 1):
                without.append(what)
        assert {'INPUT#search', 'SELECT#state', 'UL#list', 'ARTICLE#detail', 'SUMMARY#', 'A#'} <= seen, seen
        assert not without, without

    def examples_lead_to_their_candidate(self):
        page = self.open()
        page.run(SET + '("search", "no text says this")')
        name = page.run('(() => { const d = document.querySelector(".reasons details"); d.open = true; const a = d.querySelector("a"); a.click(); return a.textContent; })()')
        page.run('new Promise(done => setTimeout(done, 30))')
        assert page.run(CURRENT) == name and page.run(DETAIL + '.querySelector("h3").textContent') == name

    def it_fits_a_phone_and_a_wide_screen(self):
        for width in (320, 360, 414, 768, 1200, 2400):
            page = self.open(width=width)
            page.run('document.querySelectorAll("details").forEach(d => d.open = true)')
            wide = page.run('''[...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && !e.closest(".wide, nav, svg") &&
                e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className + "#" + e.id)''')
            assert page.run('document.documentElement.scrollWidth <= innerWidth'), (width, wide)
            assert not wide, (width, wide)

    def it_has_a_light_and_a_dark_face(self):
        grounds = set()
        for dark in (False, True):
            page = self.open(dark=dark)
            page.run('document.querySelectorAll("details").forEach(d => d.open = true)')
            page.run('location.hash = "#c7.0"')
            page.run('new Promise(done => setTimeout(done, 10))')
            page.run(SET + '("search", "bidi")')
            grounds.add(page.run('getComputedStyle(document.body).backgroundColor'))
            assert page.run(CONTRAST) == [], page.run(CONTRAST)
        assert len(grounds) == 2

    def its_outline_is_sound(self):
        assert self.open().run(OUTLINE) == [], self.open().run(OUTLINE)

    def without_scripts_the_figures_are_there(self):
        page = self.open(script=False)
        assert page.run('document.querySelectorAll("svg.plot rect").length') > 20
        assert page.run('document.querySelectorAll(".reasons .example").length') > 2
        assert not page.run('document.getElementById("browser").checkVisibility()')
        assert page.run('document.querySelector("noscript").textContent.includes("needs JavaScript")')


def make_page(program, folder):
    """A night and the two before it, one of which has no summary that could be read."""
    subprocess.run([program, 'ledger', folder], check=True)
    with open(os.path.join(folder, 'summary.json')) as f:
        summary = f.read()
    earlier = {'candidates': 100, 'accepted': 20, 'chosen': 20, 'tokens_generated': 9000, 'tokens_accepted': 1000, 'generate_ms': 100000}
    db = sqlite3.connect(os.path.join(folder, 'history.db'))
    db.execute('CREATE TABLE run (run TEXT PRIMARY KEY, number INTEGER, ended_ms INTEGER, summary TEXT)')
    db.executemany('INSERT INTO run VALUES (?, ?, ?, ?)', [('first', 1, 1, json.dumps(earlier)), ('<second>', 2, 2, 'not JSON'), ('night', 3, 3, summary)])
    db.commit()
    db.close()
    subprocess.run([program, 'page', folder], check=True)


def main():
    if not devtools.program():
        print('1..0 # SKIP there is no Chromium (Debian: chromium-headless-shell)')
        return 0
    failed = False
    names = [n for n, v in vars(Tests).items() if not n.startswith('_') and n != 'open' and callable(v)]
    with tempfile.TemporaryDirectory(prefix='thresh-page-') as folder, devtools.Browser() as browser:
        make_page(os.path.abspath(sys.argv[1]), folder)
        tests = Tests(browser, os.path.join(folder, 'report.html'))
        for i, name in enumerate(names, 1):
            try:
                getattr(tests, name)()
                print(f'ok {i} - {name}', flush=True)
            except (AssertionError, RuntimeError) as e:
                failed = True
                print(f'not ok {i} - {name}\n# {type(e).__name__}, line {e.__traceback__.tb_next and e.__traceback__.tb_next.tb_lineno}: {e}'.replace('\n', '\n# ')
                      .replace('# not ok', 'not ok').replace('\n# #', '\n#'), flush=True)
    print(f'1..{len(names)}')
    return failed


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no browser is left behind
    sys.exit(main())
