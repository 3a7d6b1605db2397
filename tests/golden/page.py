"""Reads the page of `thresh report` and tells what it is made of: page.py PAGE

Fails where the page has an element, an attribute or an address that we do not write, where its policy would let anything in, or where it
is 2 MB or more. Prints the tags, and of the first candidates whose prompts are hostile the text as the page's data has it."""
import base64
import hashlib
import html.parser
import json
import re
import sys

TAGS = set('html head meta title style body header main section footer nav p h1 h2 h3 span b code div dl dt dd ul li table thead tbody tr th td '
           'figure figcaption svg line rect circle text tspan details summary a mark noscript form label input select button output article kbd script'.split())
ATTRIBUTES = re.compile(r'(charset|http-equiv|content|name|lang|class|id|hidden|tabindex|scope|role|aria-[a-z]+|href|type|autocomplete|spellcheck|placeholder|'
                        r'height|width|x|y|x1|x2|y1|y2|cx|cy|r|text-anchor)$')


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.texts, self.policy = [], {}, {}, None

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, f'<{tag}>'
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attributes:
            assert ATTRIBUTES.match(name), f'<{tag} {name}>'
            assert name != 'href' or value.startswith('#'), value
        given = dict(attributes)
        if given.get('http-equiv') == 'Content-Security-Policy':
            self.policy = given['content']
        if tag not in ('meta', 'input'):
            self.open.append((tag, given.get('id')))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, f'</{tag}>'

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], '') + data


def hash_of(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def main(path):
    with open(path, 'rb') as f:
        data = f.read()
    text = data.decode('utf-8')
    assert len(data) < 2000000, len(data)
    assert not [c for c in text if ord(c) < 32 and c not in '\n\t'], 'control characters'
    assert not re.search('[\u202a-\u202e\u2066-\u2069\u2028\u2029\u200b\ufeff]', text), 'invisible characters'
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open, page.open
    style, script = page.texts[('style', None)], page.texts[('script', None)]
    assert page.policy == f"default-src 'none'; style-src {hash_of(style)}; script-src {hash_of(script)}; base-uri 'none'; form-action 'none'", page.policy
    assert page.tags['script'] == 2 and page.tags['style'] == 1, page.tags
    assert not re.search(r'innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|XMLHttp|import', script), 'the script parses or asks'
    candidates = json.loads(page.texts[('script', 'data')])
    print('tags', *sorted(page.tags))
    print('candidates', len(candidates), 'accepted', sum(c['state'] == 'accepted' for c in candidates))
    for c in candidates:
        if c['source'] == 'hostile' and c['id'].endswith('.0'):
            # A candidate's text by the kinds of excerpt.h: 1 is the answer, 2 the name of a character.
            print(c['state'], *(('', 'answer:', 'named:')[k] + repr(t) for k, t in zip(c['text'][::2], c['text'][1::2])))


main(sys.argv[1])
