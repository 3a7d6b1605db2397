"""A headless Chromium over its DevTools pipe, with the standard library alone.

    with Browser() as browser:
        page = browser.open(path, width=360, dark=True)
        page.run('document.title')
"""
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

PROGRAMS = ('chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome')
PATIENCE_S = 120  # for what hangs; a busy machine is slow


def program():
    """The path of a Chromium, or None."""
    return os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix='thresh-chromium-')
        to_browser, self.to = os.pipe()
        self.back, from_browser = os.pipe()
        command = [program(), '--headless', '--remote-debugging-pipe', '--user-data-dir=' + self.folder, '--no-first-run', '--disable-gpu',
                   '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update', '--disable-extensions',
                   '--hide-scrollbars', '--no-proxy-server']
        if os.geteuid() == 0:
            command.append('--no-sandbox')  # its sandbox refuses root

        def set_up():
            # It reads commands from 3 and writes answers to 4; both ends may be at those numbers already.
            spare = [os.dup2(fd, 100 + i) for i, fd in enumerate((to_browser, from_browser))]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        self.process = subprocess.Popen(command, preexec_fn=set_up, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.last_id, self.events = b'', 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.folder, ignore_errors=True)

    def receive(self):
        end = time.monotonic() + PATIENCE_S
        while b'\0' not in self.buffer:
            if not select.select([self.back], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError('Chromium does not answer')
            data = os.read(self.back, 1 << 20)
            if not data:
                raise EOFError('Chromium has died')
            self.buffer += data
        message, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.last_id += 1
        message = {'id': self.last_id, 'method': method, 'params': params}
        if session:
            message['sessionId'] = session
        os.write(self.to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self.receive()
            if answer.get('id') != self.last_id:
                self.events.append(answer)
            elif 'error' in answer:
                raise RuntimeError(f'{method}: {answer["error"]["message"]}')
            else:
                return answer['result']

    def open(self, path, width=1200, height=900, dark=False, script=True):
        return Page(self, path, width, height, dark, script)


class Page:
    def __init__(self, browser, path, width, height, dark, script):
        self.browser = browser
        target = browser.call('Target.createTarget', url='about:blank')['targetId']
        self.session = browser.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        if not script:
            self.call('Emulation.setScriptExecutionDisabled', value=True)
        self.call('Page.navigate', url=pathlib.Path(path).absolute().as_uri())
        self.wait_for('Page.loadEventFired')

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def events(self, *methods):
        return [e['params'] for e in self.browser.events if e.get('sessionId') == self.session and e['method'] in methods]

    def wait_for(self, method):
        while not self.events(method):
            self.browser.events.append(self.browser.receive())

    def run(self, expression):
        """The value of an expression of JavaScript; a promise is waited for."""
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in answer:
            raise RuntimeError(answer['exceptionDetails'].get('exception', {}).get('description', answer['exceptionDetails']['text']))
        return answer['result'].get('value')

    def key(self, key):
        text = {'text': key} if len(key) == 1 else {'text': '\r'} if key == 'Enter' else {}
        codes = {'Tab': 9, 'Enter': 13, 'Escape': 27, 'End': 35, 'Home': 36, 'ArrowUp': 38, 'ArrowDown': 40}
        code = codes.get(key, ord(key[0].upper()))
        self.call('Input.dispatchKeyEvent', type='keyDown', key=key, windowsVirtualKeyCode=code, **text)
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key, windowsVirtualKeyCode=code)

    def type(self, text):
        self.call('Input.insertText', text=text)

    def complaints(self):
        """What the page said on the console, threw, or was forbidden."""
        said = [' '.join(str(a.get('value', a.get('description'))) for a in e['args']) for e in self.events('Runtime.consoleAPICalled')]
        threw = [e['exceptionDetails']['text'] for e in self.events('Runtime.exceptionThrown')]
        logged = [e['entry']['text'] for e in self.events('Log.entryAdded')]
        return said + threw + logged

    def requests(self):
        return [e['request']['url'] for e in self.events('Network.requestWillBeSent')]

    def picture(self, path, whole=True):
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        clip = {'clip': {'x': 0, 'y': 0, 'width': size['width'], 'height': size['height'], 'scale': 1}} if whole else {}
        data = self.call('Page.captureScreenshot', captureBeyondViewport=whole, **clip)['data']
        with open(path, 'wb') as f:
            f.write(base64.b64decode(data))
