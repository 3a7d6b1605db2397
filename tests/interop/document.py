"""The snippets of docs/train.md, as they stand there: the document is the code that is tested."""
import contextlib
import os
import re
import sys

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'docs', 'train.md')
SNIPPET = re.compile(r'^<!-- snippet: ([a-z-]+) -->\n```(?:python|yaml)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def snippets():
    """Name -> code, in the order of the document."""
    with open(PATH, encoding='utf-8') as f:
        found = SNIPPET.findall(f.read())
    assert len(dict(found)) == len(found), 'two snippets of one name'
    return dict(found)


def unmarked():
    """Fenced blocks that are no snippet: the document would show code that nothing has run."""
    with open(PATH, encoding='utf-8') as f:
        return SNIPPET.sub('', f.read()).count('```')


def run(name, namespace):
    """Runs a snippet where those before it were run, as a reader would who pastes them one after the other."""
    path = f'{name}.py'
    with open(path, 'w', encoding='utf-8') as f:
        f.write(snippets()[name])
    # Trainers print; stdout is for TAP.
    with open(path, encoding='utf-8') as f, contextlib.redirect_stdout(sys.stderr):
        exec(compile(f.read(), os.path.abspath(path), 'exec'), namespace)
