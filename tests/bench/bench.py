"""Figures, each against its limit in the same run. Asserts nothing: machines are noisy.

    bench.py busy      generated tokens/s through `thresh run` against a plain load of the same requests on the same server
    bench.py pool      two endpoints of speed 1 : 5 and long-tailed lengths: total time against total work over summed speed
    bench.py prefix    how often the server reads a prompt of several candidates, by the form in which they are asked for
    bench.py waves     accepted prompts a million tokens: waves, giving up, rounds, against 8 candidates each (fake engine)
    bench.py tail      time of a night against its work over its slots, long-tailed lengths (fake engine)
    bench.py memory    peak memory of `thresh run` in its flow stages and while packing, for two numbers of prompts (fake engine)
    bench.py guard     tokens that the guard saves of looping candidates, and what it cuts falsely (fake engine, and the small model at temperature 0)
    bench.py stream    processor time a token, streamed and in one piece (fake engine)
    bench.py shards    writing, packing, reading and verifying shards, against libzstd, zstd, MDSWriter and TRL
    bench.py billion   peak memory while 1,000,000,000 tokens are written
    bench.py start     `status` and a resumed run's first request on a ledger of 1,000,000 candidates (bench_start.py)
    bench.py rate      candidates/s of the client against wrk on a static server (bench_rate.py)
    bench.py near      near duplicates: recall, texts/s from text to persistent index against rensa, size of many signatures (bench_near.py)
    bench.py report    time and memory of `thresh report` on a million candidates (bench_report.py)
    bench.py crash     kill -9 at random instants: lost, twice, asked for again; beside a home-made loop (bench_crash.py)
    bench.py durability  candidates/s with and without syncs (bench_crash.py)
    bench.py math      the math checker's pairs/s and verdicts, against Math-Verify (bench_math.py)

Environment: THRESH, FAKE_ENGINE, BENCH_SHARD, BENCH_MATH, BENCH_NIGHT, BENCH_NEAR, THRESH_SOURCE (the checkout), THRESH_LLAMA_SERVER, THRESH_INTEROP_PYTHON, RENSA_PYTHON (one with rensa). BENCH_PROMPTS,
BENCH_ROUNDS, BENCH_TOKENS, BENCH_TEXTS and BENCH_SIGNATURES (10000000: all that is promised; 2 GiB are written) change the size.
"""
import concurrent.futures
import http.client
import json
import math
import os
import random
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import bench_crash
import bench_math
import bench_near
import bench_rate
import bench_report
import bench_start
import bench_waves

THRESH = os.environ.get('THRESH', 'build/thresh')
SOURCE = os.environ.get('THRESH_SOURCE', '.')


def write(name, text):
    with open(name, 'w') as f:
        f.write(text)


def pipeline(name, workdir, url, rows, candidates, max_tokens, more_stages='', generate='temperature: 0.8, top_p: 1}'):
    write(name, f'''
name: bench
seed: 1
workdir: {workdir}
engines: {{student: {{url: "{url}"}}}}
stages:
  - sample: {{sources: [{{path: {rows}}}], template: template.yaml}}
  - generate: {{engine: student, candidates: {candidates}, sampling: {{max_tokens: {max_tokens}, {generate}, truncated: score}}
  - verify: [math: {{gold: answer}}]
{more_stages}accept: math = 1
''')
    write('template.yaml', 'messages:\n  - system: Solve the problem. End with \\boxed{N}.\n  - user: "{{question}}"\n')


# --- busy ---

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, slots, context):
        self.port = free_port()
        binary = os.environ.get('THRESH_LLAMA_SERVER') or os.path.join(SOURCE, '.thresh/bin/llama-server')
        model = os.path.join(SOURCE, 'models/smollm2-135m-instruct.gguf')
        self.log = open('server.log', 'w')
        self.process = subprocess.Popen([binary, '-m', model, '--host', '127.0.0.1', '--port', str(self.port), '-np', str(slots), '-c',
                                         str(slots * context), '-t', str(os.cpu_count()), '--slots', '--metrics', '--no-webui'],
                                        stdout=self.log, stderr=self.log)
        while True:
            try:
                if self.post('/health', None)[0] == 200:
                    return
            except OSError:
                pass
            assert self.process.poll() is None, open('server.log').read()[-2000:]
            time.sleep(0.1)

    def post(self, path, body):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=600)
        c.request('POST' if body else 'GET', path, json.dumps(body) if body else None, {'Content-Type': 'application/json'})
        r = c.getresponse()
        return r.status, r.read()

    def metrics(self):
        lines = self.post('/metrics', None)[1].decode().splitlines()
        return {name.removeprefix('llamacpp:'): float(v) for name, v in (line.rsplit(' ', 1) for line in lines if line[0] != '#')}

    def stop(self):
        self.process.terminate()
        self.process.wait()


def query(name, sql):
    out = subprocess.run([THRESH, 'query', name, sql, '--json'], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def plain_load(server, requests, slots):
    """The same requests as fast as a simple client can send them: as many in flight as there are slots."""
    def one(request):
        status, body = server.post('/completion', request)
        assert status == 200, body
        return json.loads(body)['tokens_predicted']
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(slots) as pool:
        tokens = sum(pool.map(one, requests))
    return tokens, time.monotonic() - begun


class Watch(threading.Thread):
    """The server's own count of busy slots, looked at now and then."""
    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.rows, self.over = server, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.2):
            m = self.server.metrics()
            self.rows.append((time.time() * 1000, m['n_decode_total'], m['n_decode_total'] * m['n_busy_slots_per_decode']))

    def busy_until(self, ms):
        """Busy slots a decode, from the start to a moment."""
        self.over.set()
        self.join()
        _, decodes, slots = max(r for r in self.rows if r[0] <= ms)
        return slots / decodes


def busy():
    slots, n, rounds = 16, int(os.environ.get('BENCH_PROMPTS', 24)), int(os.environ.get('BENCH_ROUNDS', 3))
    rows = os.path.join(SOURCE, 'data/word-problems-easy.jsonl')
    ratios, shares = [], []
    for i in range(rounds):
        # A new server for each side: one that has seen the prompts would find them in its cache.
        server = Server(slots, 1024)
        name = f'busy{i}.yaml'
        pipeline(name, f'busy{i}', f'http://127.0.0.1:{server.port}', rows, 4, 96)
        watch = Watch(server)
        subprocess.run([THRESH, 'run', name, '--limit', str(n), '--log', 'error'], stdout=subprocess.DEVNULL, check=True)
        done = [r['t'] for r in query(name, 'select created_ms as t from candidate order by 1')]
        shares.append(watch.busy_until(done[int(0.9 * len(done)) - 1]) / slots)
        server.stop()
        facts = json.loads(subprocess.run([THRESH, 'status', name, '--json'], stdout=subprocess.PIPE, check=True).stdout)
        ours = facts['tokens_generated'] / facts['generate_ms'] * 1000
        rows_done = query(name, 'select prompt_ids(prompt) as ids, seed from candidate order by id')
        requests = [{'prompt': json.loads(r['ids']), 'seed': r['seed'], 'n_predict': 96, 'temperature': 0.8, 'top_p': 1, 'top_k': 0,
                     'min_p': 0, 'cache_prompt': True, 'return_tokens': True} for r in rows_done]
        server = Server(slots, 1024)
        tokens, seconds = plain_load(server, requests, slots)
        plain = server.metrics()
        server.stop()
        ratios.append(ours / (tokens / seconds))
        print(f'round {i + 1}: thresh {facts["tokens_generated"]} tokens at {ours:.0f}/s, {shares[-1]:.3f} of the slots busy over the first 90 %, '
              f'prompt tokens read {facts["prompt_tokens_read"]} of {facts["prompt_tokens_sent"]}; plain {tokens} tokens at {tokens / seconds:.0f}/s, '
              f'prompt tokens read {plain["prompt_tokens_total"]:.0f}; ratio {ratios[-1]:.3f}', flush=True)
    print(f'busy: median ratio {statistics.median(ratios):.3f} of a plain load (target 0.97), busy slots {statistics.median(shares):.3f} '
          f'(target 0.95), {slots} slots, {n} prompts x 4')


# --- prefix ---

def ask(server, prompt, seed, n, tokens):
    status, body = server.post('/completion', {
        'prompt': prompt, 'seed': seed, 'n_predict': tokens, 'temperature': 0.8, 'top_p': 1, 'top_k': 0, 'min_p': 0, 'cache_prompt': True,
        'return_tokens': True, 'response_fields': ['tokens_predicted'], **({'n_cmpl': n} if n > 1 else {})})
    assert status == 200, body
    answer = json.loads(body)
    return sum(a['tokens_predicted'] for a in (answer if n > 1 else [answer]))


def prefix():
    """How often the server reads a prompt of which `k` candidates are asked for, by the form in which they are asked for."""
    slots, k = 16, int(os.environ.get('BENCH_CANDIDATES', 4))
    for length, n in ((60, 24), (512, 18), (1500, 17)):
        rng = random.Random(length)
        n = int(os.environ.get('BENCH_PROMPTS', n))
        prompts = [[rng.randrange(100, 40000) for _ in range(length)] for _ in range(n)]
        # Long-tailed, and the same for each form.
        most = [[8 + min(int(rng.expovariate(1 / 24)), 120) for _ in range(k)] for _ in range(n)]
        forms = (
            ('all of a prompt at once', slots, [[(i, j, 1)] for i in range(n) for j in range(k)]),
            (f'n_cmpl {k}', slots // k, [[(i, 0, k)] for i in range(n)]),
            ('one after another', slots, [[(i, j, 1) for j in range(k)] for i in range(n)]),
            ('in rounds', slots, [[(i, j, 1)] for j in range(k) for i in range(n)]))
        for name, in_flight, chains in forms:
            server = Server(slots, max(length + 160, 256))
            def run(chain):
                return sum(ask(server, prompts[i], 1000 * i + j, c, max(most[i]) if c > 1 else most[i][j]) for i, j, c in chain)
            begun = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
                tokens = sum(pool.map(run, chains))
            seconds, m = time.monotonic() - begun, server.metrics()
            server.stop()
            print(f'prefix: {n} prompts of {length} tokens x {k}, {name}: read {m["prompt_tokens_total"]:.0f} prompt tokens, '
                  f'{m["prompt_tokens_total"] / (n * length):.2f} times each; {m["n_busy_slots_per_decode"]:.1f} of {slots} slots busy; '
                  f'{tokens} tokens at {tokens / seconds:.0f}/s', flush=True)
    # The target: eight candidates of one prompt, through `thresh run`.
    server = Server(slots, 1024)
    words = ' '.join(str(i) for i in range(100, 250))
    write('long.jsonl', json.dumps({'question': f'What is 1 + 1? Ignore this: {words}', 'answer': 2}) + '\n')
    pipeline('long.yaml', 'long', f'http://127.0.0.1:{server.port}', 'long.jsonl', 8, 16)
    subprocess.run([THRESH, 'run', 'long.yaml', '--log', 'error'], stdout=subprocess.DEVNULL, check=True)
    server.stop()
    facts = json.loads(subprocess.run([THRESH, 'status', 'long.yaml', '--json'], stdout=subprocess.PIPE, check=True).stdout)
    length = facts['prompt_tokens_sent'] / 8
    print(f'prefix: thresh run, 8 candidates of one prompt of {length:.0f} tokens: read {facts["prompt_tokens_read"]}, '
          f'{facts["prompt_tokens_read"] / length:.2f} times (target 1.1)')


# --- pool ---

def fake_engines(slots, delays):
    """One fake engine for each time per token; the processes and their addresses."""
    processes = [subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--slots', str(slots), '--context', '16384',
                                   '--delay-ms-per-token', str(d)], stdout=subprocess.PIPE, text=True) for d in delays]
    return processes, [re.search(r'http://\S+', p.stdout.readline()).group() for p in processes]


def pool_rows(name, n, seed):
    """Lognormal lengths: the longest of 1,000 is some ten times the mean."""
    rng = random.Random(seed)
    with open(name, 'w') as f:
        for i in range(n):
            length = max(8, min(4000, round(60 * math.exp(rng.gauss(0, 1)))))
            f.write(json.dumps({'question': f'What is {i} + 1? [fake: answer={i + 1} p=0.5 len={length}]', 'answer': i + 1}) + '\n')


def pool_run(name, urls, hedge):
    """Seconds from the first request to the last answer, tokens, the share of each endpoint, tokens wasted."""
    pipeline(f'{name}.yaml', name, 'URL', 'pool.jsonl', 4, 8192)
    text = open(f'{name}.yaml').read().replace('url: "URL"', f'url: {json.dumps(urls)}, hedge: {json.dumps(hedge)}')
    write(f'{name}.yaml', text)
    subprocess.run([THRESH, 'run', f'{name}.yaml', '--log', 'error'], stdout=subprocess.DEVNULL, check=True)
    facts = json.loads(subprocess.run([THRESH, 'status', f'{name}.yaml', '--json'], stdout=subprocess.PIPE, check=True).stdout)
    engine = facts['engines']['student']
    return facts['generate_ms'] / 1000, facts['tokens_generated'], [e['tokens'] for e in engine['endpoints']], engine['tokens_wasted']


def pool():
    slots, delays = 16, [10, 2]
    n, rounds = int(os.environ.get('BENCH_PROMPTS', 600)), int(os.environ.get('BENCH_ROUNDS', 3))
    speed = sum(slots * 1000 / d for d in delays)
    processes, urls = fake_engines(slots, delays)
    ratios = {False: [], True: []}
    try:
        for i in range(rounds):
            pool_rows('pool.jsonl', n, i)
            for hedge in ratios:
                seconds, tokens, shares, wasted = pool_run(f'pool{i}{hedge}', urls, hedge)
                ratios[hedge].append(seconds / (tokens / speed))
                print(f'pool: round {i + 1}, hedge {hedge}: {tokens:,} tokens in {seconds:.2f} s, ideal {tokens / speed:.2f} s, ratio '
                      f'{ratios[hedge][-1]:.3f}; slow : fast = 1 : {shares[1] / max(shares[0], 1):.2f}; {wasted:,} tokens wasted', flush=True)
    finally:
        for p in processes:
            p.terminate()
    for hedge, list_of in ratios.items():
        print(f'pool: median ratio {statistics.median(list_of):.3f} of the ideal, hedge {hedge}, {n} prompts x 4 (target 1.07)')


# --- memory ---

def peak_kib(command):
    """Peak resident memory of one process, from the kernel's own account of it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    pid = os.spawnvp(os.P_NOWAIT, command[0], command)
    _, status, usage = os.wait4(pid, 0)
    return usage.ru_maxrss, os.waitstatus_to_exitcode(status), before


def memory():
    sizes = [int(s) for s in os.environ.get('BENCH_PROMPTS', '10000,100000').split(',')]
    engine = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', '--slots', '64'], stdout=subprocess.PIPE, text=True)
    url = re.search(r'http://\S+', engine.stdout.readline()).group()
    try:
        for n in sizes:
            with open(f'rows{n}.jsonl', 'w') as f:
                for i in range(n):
                    f.write(json.dumps({'question': f'What is {i} + 1? [fake: answer={i + 1} p=0.5 len=20]', 'answer': i + 1}) + '\n')
            pipeline(f'flow{n}.yaml', f'flow{n}', url, f'rows{n}.jsonl', 4, 64)
            begun = time.monotonic()
            kib, code, _ = peak_kib([THRESH, 'run', f'flow{n}.yaml', '--log', 'error', '--json'])
            print(f'memory: flow stages, {n} prompts x 4: peak {kib / 1024:.1f} MiB (target 64), exit {code}, '
                  f'{4 * n / (time.monotonic() - begun):.0f} candidates/s', flush=True)
            pipeline(f'flow{n}.yaml', f'flow{n}', url, f'rows{n}.jsonl', 4, 64,
                     '  - select: {per_prompt: 4}\n  - pack: {context: 2048, shard_bytes: 16MiB}\n')
            kib, code, _ = peak_kib([THRESH, 'run', f'flow{n}.yaml', '--log', 'error', '--json', '--from', 'select'])
            print(f'memory: select and pack, {n} prompts x 4, shards of 16 MiB: peak {kib / 1024:.1f} MiB (target {64 + 3 * 16}), exit {code}',
                  flush=True)
    finally:
        engine.terminate()


# --- guard, stream ---

class Fake:
    def __init__(self, *args):
        self.process = subprocess.Popen([os.environ['FAKE_ENGINE'], '--die-with-parent', *args], stdout=subprocess.PIPE, text=True)
        self.url = re.search(r'http://\S+', self.process.stdout.readline()).group()

    def predicted(self):
        c = http.client.HTTPConnection(self.url.split('/')[2])
        c.request('GET', '/metrics')
        return int(re.search(r'tokens_predicted_total (\d+)', c.getresponse().read().decode()).group(1))

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run_quietly(name):
    """Processor seconds of a night."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([THRESH, 'run', name, '--log', 'error'], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_guarded(what, plain, guarded, loops_at):
    """Both nights have the same seeds. A candidate loops if without a guard it met the limit."""
    rows = {r['id']: r for r in query(plain, 'select id, finish, n_tokens from candidate')}
    looping = saved = meant = false_cuts = missed = 0
    for r in query(guarded, 'select id, finish, n_tokens from candidate'):
        before = rows[r['id']]
        if before['n_tokens'] >= loops_at:
            looping += 1
            meant += before['n_tokens']
            saved += before['n_tokens'] - r['n_tokens']
            missed += r['finish'] != 'loop'
        elif r['finish'] == 'loop':
            false_cuts += 1
    print(f'guard: {what}: {looping} of {len(rows)} candidates without an end, {100 * saved / max(meant, 1):.1f} % of their {meant:,} tokens saved '
          f'(target 85), {missed} of them not cut, {false_cuts} false cuts (target 0)', flush=True)


def guard():
    n = int(os.environ.get('BENCH_PROMPTS', 100))
    with open('rows.jsonl', 'w') as f:
        for i in range(n):
            f.write(json.dumps({'question': f'What is {i} + 1? [fake: answer={i + 1} p=0.5 len=80 loop=0.1]', 'answer': i + 1}) + '\n')
    engine = Fake('--slots', '16', '--context', '8192', '--delay-ms-per-token', '1')
    predicted = [engine.predicted()]
    for name, more in (('plain', ''), ('guarded', ', guard: {loop: 128}')):
        pipeline(f'{name}.yaml', name, engine.url, 'rows.jsonl', 4, 2048, generate='temperature: 0.8, top_p: 1}' + more)
        run_quietly(f'{name}.yaml')
        predicted.append(engine.predicted())
    engine.stop()
    compare_guarded('fake engine', 'plain.yaml', 'guarded.yaml', 2048)
    print(f'guard: fake engine: sampled {predicted[1] - predicted[0]:,} tokens without, {predicted[2] - predicted[1]:,} with a guard', flush=True)
    if not os.path.exists(os.path.join(SOURCE, 'models/smollm2-135m-instruct.gguf')):
        print('guard: the small model is not there (./bootstrap run fetches it)')
        return
    n, limit = int(os.environ.get('BENCH_REAL_PROMPTS', 12)), int(os.environ.get('BENCH_TOKENS', 4096))
    rows = os.path.join(SOURCE, 'data/word-problems-medium.jsonl')
    for name, more in (('real', ''), ('real_guarded', ', guard: {loop: 128}')):
        server = Server(4, limit + 512)
        pipeline(f'{name}.yaml', name, f'http://127.0.0.1:{server.port}', rows, 1, limit, generate='temperature: 0}' + more)
        subprocess.run([THRESH, 'run', f'{name}.yaml', '--limit', str(n), '--log', 'error'], stdout=subprocess.DEVNULL, check=True)
        server.stop()
    compare_guarded('SmolLM2-135M at temperature 0', 'real.yaml', 'real_guarded.yaml', limit)


def stream():
    n, rounds = int(os.environ.get('BENCH_PROMPTS', 250)), int(os.environ.get('BENCH_ROUNDS', 3))
    with open('rows.jsonl', 'w') as f:
        for i in range(n):
            f.write(json.dumps({'question': f'What is {i} + 1? [fake: answer={i + 1} p=0.5 len=300]', 'answer': i + 1}) + '\n')
    engine, costs = Fake('--slots', '64'), {}
    for i in range(rounds):
        for name, more in (('whole', ''), ('streamed', ', guard: {loop: 1000}')):
            pipeline(f'{name}{i}.yaml', f'{name}{i}', engine.url, 'rows.jsonl', 4, 400, generate='temperature: 0.8, top_p: 1}' + more)
            costs.setdefault(name, []).append(run_quietly(f'{name}{i}.yaml'))
    engine.stop()
    tokens = query('whole0.yaml', 'select sum(n_tokens) as n from candidate')[0]['n']
    for name, seconds in costs.items():
        s = statistics.median(seconds)
        print(f'stream: {name}: {1e6 * s / tokens:.2f} us a token, {s / (4 * n) * 1e5:.0f} CPU seconds per 100,000 candidates of {tokens // (4 * n)} tokens',
              flush=True)


# --- shards ---

def bench_shard(*args):
    """Runs the C side and gives its key=value words."""
    out = subprocess.run([os.environ.get('BENCH_SHARD', os.path.join(SOURCE, 'build/tests/bench/bench_shard')), *map(str, args)],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(re.findall(r'(\w+)=([0-9.]+)', out))


def rival(*args):
    home = os.environ.get('THRESH_HOME') or os.path.join(SOURCE, '.thresh')
    python = os.environ.get('THRESH_INTEROP_PYTHON') or os.path.join(home, 'interop', 'bin', 'python')
    if not os.path.exists(python):
        return None
    run = subprocess.run([python, os.path.join(SOURCE, 'tests/bench/rivals.py'), *map(str, args)], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    return json.loads(run.stdout.splitlines()[-1]) if run.returncode == 0 else None


def seconds_of(command):
    begun = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def by_turns(rounds, *commands):
    """Medians of whole processes, each command in each round."""
    times = [[seconds_of(c) for c in commands] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*times)]


def bench_write(tokens, rounds):
    os.mkdir('big')
    cores = len(os.sched_getaffinity(0))
    for threads in sorted({1, cores}):
        f = bench_shard('write', 'big', tokens, 1 << 26, threads, rounds)
        print(f'shards: write {int(f["tokens"]):,} tokens, {threads} threads: {float(f["write_s"]):.3f} s, '
              f'{float(f["write_tokens_per_s"]) / 1e6:.0f} M tokens/s, ratio {f["ratio"]} of libzstd alone ({float(f["limit_s"]):.3f} s; '
              f'by CPU time {f["cpu_ratio"]}; target 0.85)', flush=True)
        if threads == cores:
            writer = rival('write', 'big/tokens.u16', 3)
            print('shards: MDSWriter: not there to compare (./bootstrap test installs it)' if not writer else
                  f'shards: MDSWriter on the same tokens: {writer["seconds"]:.3f} s; {writer["seconds"] / float(f["write_s"]):.1f} times as long '
                  '(target 3)', flush=True)


def bench_read(tokens, rounds):
    cores, folder = len(os.sched_getaffinity(0)), 'read'
    bench_shard('stream', folder, 3 * cores * tokens, 1 << 26, cores)
    files = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith('.zstd')]
    alone, together, ours = by_turns(rounds, ['zstd', '-t', '-q', *files],
                                     ['sh', '-c', f'printf "%s\\n" {folder}/*.zstd | xargs -P {cores} -n 1 zstd -t -q'],
                                     [THRESH, 'inspect', '--verify', '--no-ledger', folder])
    print(f'shards: verify {len(files)} shards {ours * 1e3:.0f} ms on {cores} cores; zstd -t {alone * 1e3:.0f} ms on one, ratio a core '
          f'{alone / ours / cores:.2f} (target 0.8); {together * 1e3:.0f} ms with one zstd -t a core, ratio {together / ours:.2f}', flush=True)
    whole, one, none = by_turns(rounds, ['zstd', '-dcq', files[0]], [THRESH, 'inspect', '--sample', '4321', '--json', folder],
                                [THRESH, 'stages'])
    print(f'shards: one sample, whole process: {one * 1e3:.1f} ms (target 10), {none * 1e3:.1f} of them to start and end; decompressing the '
          f'shard {whole * 1e3:.1f} ms', flush=True)
    f = bench_shard('sample', folder, 2 * rounds)
    print(f'shards: one sample in-process: {f["open_and_sample_ms"]} ms with opening, then {f["next_sample_ms"]} ms (target 1); all samples '
          f'{f["all_samples_ms"]} ms', flush=True)


def bench_packing(rounds):
    f = bench_shard('pack', 1000000, rounds, '.')
    print(f'shards: pack {int(f["lengths"]):,} lengths: {f["pack_ms"]} ms (target 20), fill {f["fill"]} (target 0.9999), {f["rows"]} rows',
          flush=True)
    trl = rival('pack', 'lengths.u32')
    print('shards: TRL: not there to compare (./bootstrap test installs it)' if not trl else
          f'shards: TRL\'s bfd on the same lengths: {trl["seconds"]:.1f} s, {trl["rows"]} rows', flush=True)


def shards():
    rounds = int(os.environ.get('BENCH_ROUNDS', 9))
    tokens = int(os.environ.get('BENCH_TOKENS', 20480000))
    bench_write(tokens, rounds)
    bench_read(tokens, rounds)
    bench_packing(rounds)


def billion():
    tokens, threads = int(os.environ.get('BENCH_TOKENS', 1000000000)), len(os.sched_getaffinity(0))
    for mib in (16, 64):
        f = bench_shard('stream', 'stream', tokens, mib << 20, threads)
        print(f'billion: {int(f["tokens"]):,} tokens, shards of {mib} MiB: peak {float(f["peak_mib"]):.1f} MiB (target {64 + 3 * mib}), '
              f'{float(f["tokens_per_s"]) / 1e6:.0f} M tokens/s, {f["shards"]} shards', flush=True)
        shutil.rmtree('stream')


def deadline():
    program = os.environ.get('BENCH_NIGHT', os.path.join(SOURCE, 'build/tests/bench/bench_night'))
    print('deadline: targets: never late, >= 95 % of the slot time until the deadline used, <= 2 % of the tokens thrown away', flush=True)
    subprocess.run([program, os.environ.get('BENCH_NIGHTS', '50')], check=True)


if __name__ == '__main__':
    SOURCE, THRESH = os.path.abspath(SOURCE), os.path.abspath(THRESH)
    for key in ('BENCH_SHARD', 'BENCH_MATH', 'THRESH_INTEROP_PYTHON', 'THRESH_SHARED', 'MATH_VERIFY_PYTHON', 'OPENAI_PYTHON', 'BENCH_NIGHT', 'BENCH_NEAR', 'FAULT_LIBRARY', 'RENSA_PYTHON', 'FAKE_ENGINE'):
        if key in os.environ:
            os.environ[key] = os.path.abspath(os.environ[key])
    with tempfile.TemporaryDirectory(prefix='thresh-bench-') as folder:
        os.chdir(folder)
        {'busy': busy,
         'pool': pool,
         'memory': memory,
         'guard': guard,
         'stream': stream,
         'shards': shards,
         'billion': billion,
         'near': bench_near.run,
         'math': lambda: bench_math.run(THRESH),
         'rate': lambda: bench_rate.run(THRESH),
         'deadline': deadline,
         'report': lambda: bench_report.run(THRESH),
         'start': lambda: bench_start.main(THRESH),
         'crash': lambda: bench_crash.crash(THRESH),
         'durability': lambda: bench_crash.durability(THRESH),
         'prefix': prefix,
         'waves': lambda: bench_waves.main(THRESH),
         'tail': lambda: bench_waves.tail(THRESH),
         }[sys.argv[1]]()
        os.chdir('/')
