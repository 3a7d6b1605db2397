/*
 * The sandbox and what is checked in it: right code passes, wrong code fails, and hostile code gets the status it deserves, leaves
 * no process behind and reaches nothing outside. Where the machine gives no sandbox, these tests say that they are skipped.
 */
#include "verifiers/sandbox/cgroup.h"
#include "verifiers/sandbox/check_code.h"
#include "verifiers/sandbox/code_block.h"
#include "verifiers/sandbox/sandbox.h"
#include "verifiers/sandbox/tree.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/mem.h"
#include "base/workers.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct code_checker_config usual = {
	.scratch_bytes = 16 << 20,
	.limits = {.cpu_ms = 700,
		.wall_ms = 2000,
		.memory_bytes = 256 << 20,
		.output_bytes = 1 << 20,
		.processes = 32},
};

static struct code_checker *checker;

/* Orphans of a run come to us, so that none can hide. */
static void set_up(void)
{
	struct error err = {0};
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	checker = code_checker_new(&usual, &err);
	ck_assert_msg(checker != NULL, "%s", err.msg);
}

static void tear_down(void)
{
	code_checker_free(checker);
	checker = NULL;
}

static void assert_nobody_is_left(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0) {
	}
	ck_assert_uint_eq(tree_measure(getpid()).processes, 1);
}

static struct code_outcome run(const char *code, const char *test, const char *entry)
{
	struct slice item = slice_z(test);
	struct code_tests tests = {.items = &item, .n = 1, .entry_point = slice_z(entry)};
	struct code_outcome outcome;
	code_check(checker, slice_z(code), &tests, 0, NULL, &outcome);
	return outcome;
}

static void expect(const char *what, const struct code_outcome *o, enum code_status wanted)
{
	ck_assert_msg(o->status == wanted, "%s: %s and not %s: %s", what,
		code_status_names[o->status], code_status_names[wanted], o->detail);
}

/* --- what is no attack --- */

struct example {
	const char *name, *code, *test;
	enum code_status status;
};

/* clang-format off */
static const struct example plain[] = {
	{"right",
		"def f(x):\n"
		"    return x + 1\n",
		"assert f(1) == 2\n", CODE_PASSED},
	{"wrong",
		"def f(x):\n"
		"    return x + 2\n",
		"assert f(1) == 2\n", CODE_FAILED},
	{"raises",
		"def f(x):\n"
		"    return 1 // 0\n",
		"assert f(1) == 2\n", CODE_RUNTIME_ERROR},
	{"no_such_name",
		"def g(x):\n"
		"    return x\n",
		"assert f(1) == 2\n", CODE_RUNTIME_ERROR},
	{"syntax",
		"def f(x) return x\n",
		"assert f(1) == 2\n", CODE_COMPILE_ERROR},
	{"bad_test",
		"def f(x):\n"
		"    return x\n",
		"assert f(1) ==\n", CODE_TEST_ERROR},
	{"check_function",
		"def f(x):\n"
		"    return x * 2\n",
		"def check(candidate):\n"
		"    assert candidate(2) == 4\n"
		"    assert candidate(3) == 7\n", CODE_FAILED},
	{"values_keep_their_types",
		"import collections, decimal, fractions, datetime\n"
		"def f(x):\n"
		"    return x\n",
		"for v in [None, True, 3, -2**70, 1.5, float(\"inf\"), 1j, \"a\\u00e9\\ud800\\0\", b\"\\xff\", [1, [2]], (1,), (), {1, 2}, frozenset([1]), {(1, 2): [3], \"k\": None}, range(3)]:\n"
		"    assert f(v) == v and type(f(v)) is type(v), v\n"
		"import math, fractions, decimal, datetime\n"
		"assert math.isnan(f(float(\"nan\")))\n"
		"assert f(int) is int\n"
		"for v in [fractions.Fraction(1, 3), decimal.Decimal(\"0.1\"), datetime.date(2026, 1, 2), datetime.timedelta(1)]:\n"
		"    assert f(v) == v\n", CODE_PASSED},
	{"subclasses_are_their_values",
		"import collections, enum\n"
		"class E(enum.IntEnum):\n"
		"    A = 5\n"
		"def f(x):\n"
		"    return [E.A, collections.Counter(\"aab\"), collections.OrderedDict(a=1), collections.namedtuple(\"P\", \"x y\")(1, 2)][x]\n",
		"assert [f(0), f(1), f(2), f(3)] == [5, {\"a\": 2, \"b\": 1}, {\"a\": 1}, (1, 2)]\n", CODE_PASSED},
	{"arguments_change_in_place",
		"def f(x, y):\n"
		"    x.sort()\n"
		"    y[\"k\"] = [1]\n",
		"a, b = [3, 1, 2], {}\n"
		"assert f(a, b) is None\n"
		"assert a == [1, 2, 3] and b == {\"k\": [1]}\n", CODE_PASSED},
	{"exceptions_cross",
		"class Mine(ValueError):\n"
		"    pass\n"
		"def f(x):\n"
		"    raise Mine(\"no\")\n",
		"try:\n"
		"    f(1)\n"
		"except ValueError as e:\n"
		"    assert str(e) == \"no\"\n"
		"else:\n"
		"    assert False\n", CODE_PASSED},
	{"functions_cross_both_ways",
		"def f(g):\n"
		"    return lambda x: g(x) + 1\n",
		"assert f(lambda x: x * 2)(5) == 11\n", CODE_PASSED},
	{"objects_stay_where_they_are",
		"class Node:\n"
		"    def __init__(self, v):\n"
		"        self.v, self.next = v, None\n"
		"def f(n):\n"
		"    return n.v + (f(n.next) if n.next else 0)\n",
		"a, b = Node(1), Node(2)\n"
		"a.next = b\n"
		"assert f(a) == 3 and a.next.v == 2\n", CODE_PASSED},
	{"generators",
		"def f(n):\n"
		"    yield from range(n)\n",
		"assert list(f(3)) == [0, 1, 2]\n"
		"assert next(f(1)) == 0\n", CODE_PASSED},
	{"dataclasses",
		"from __future__ import annotations\n"
		"from dataclasses import dataclass\n"
		"@dataclass\n"
		"class P:\n"
		"    x: int\n"
		"def f(x):\n"
		"    return P(x).x\n",
		"assert f(4) == 4\n", CODE_PASSED},
	{"imports_of_the_candidate",
		"import math\n"
		"def f(x):\n"
		"    return math.sqrt(x)\n",
		"assert math.isclose(f(2.0), 2 ** 0.5)\n", CODE_PASSED},
	{"test_defines_its_own",
		"def f(x):\n"
		"    return x\n",
		"def g():\n"
		"    return 1\n"
		"import random\n"
		"assert f(g()) == 1\n", CODE_PASSED},
	{"main_does_not_run",
		"def f(x):\n"
		"    return x\n"
		"if __name__ == \"__main__\":\n"
		"    input()\n",
		"assert f(1) == 1\n", CODE_PASSED},
	{"stdin_is_empty",
		"import sys\n"
		"def f(x):\n"
		"    return sys.stdin.read()\n",
		"assert f(1) == \"\"\n", CODE_PASSED},
	{"scratch_can_be_used",
		"import tempfile\n"
		"def f(x):\n"
		"    with tempfile.TemporaryFile() as t:\n"
		"        t.write(b\"abc\")\n"
		"        t.seek(0)\n"
		"        return t.read()\n",
		"assert f(1) == b\"abc\"\n", CODE_PASSED},
	{"tests_that_call_nothing",
		"def f(x):\n"
		"    return x\n",
		"def test_f():\n"
		"    assert f(1) == 2\n", CODE_TEST_ERROR},
	{"deep_recursion",
		"def f(x):\n"
		"    return f(x + 1)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"bare_except_hides_no_end",
		"import os\n"
		"def f(x):\n"
		"    os._exit(0)\n",
		"try:\n"
		"    f(1)\n"
		"except:\n"
		"    pass\n", CODE_RUNTIME_ERROR},
};
/* clang-format on */

START_TEST(plain_code_gets_its_status)
	{
		const struct example *e = &plain[_i];
		struct code_outcome o = run(e->code, e->test, "f");
		expect(e->name, &o, e->status);
		assert_nobody_is_left();
	}
END_TEST

/* --- attacks --- */

/* clang-format off */
static const struct example attacks[] = {
	{"fork_bomb",
		"import os\n"
		"def f(x):\n"
		"    while True:\n"
		"        try:\n"
		"            os.fork()\n"
		"        except OSError:\n"
		"            pass\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"fork_bomb_at_once",
		"import os\n"
		"while True:\n"
		"    try:\n"
		"        os.fork()\n"
		"    except OSError:\n"
		"        pass\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"thread_bomb",
		"import threading, time\n"
		"def f(x):\n"
		"    while True:\n"
		"        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"memory_bomb",
		"def f(x):\n"
		"    kept = []\n"
		"    while True:\n"
		"        kept.append(bytearray(1 << 20))\n",
		"assert f(1) == 1\n", CODE_MEMORY_LIMIT},
	{"memory_bomb_at_once",
		"x = bytearray(1 << 40)\n",
		"assert f(1) == 1\n", CODE_MEMORY_LIMIT},
	{"memory_in_many_processes",
		"import os, time\n"
		"def f(x):\n"
		"    for i in range(8):\n"
		"        if os.fork() == 0:\n"
		"            kept = bytearray(b\"x\") * (100 << 20)\n"
		"            time.sleep(60)\n"
		"    time.sleep(60)\n",
		"assert f(1) == 1\n", CODE_MEMORY_LIMIT},
	{"memory_no_limit_counts",
		"import ctypes, os\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"def f(x):\n"
		"    tries = [lambda: os.memfd_create(\"x\"), lambda: ctypes_call(\"shmget\", 0, 1 << 30, 0o1600), lambda: ctypes_call(\"msgget\", 0, 0o1600), lambda: ctypes_call(\"mq_open\", b\"/x\", 0o102, 0o600, None)]\n"
		"    return [i for i, t in enumerate(tries) if works(t)]\n"
		"def ctypes_call(name, *args):\n"
		"    if getattr(libc, name)(*args) < 0:\n"
		"        raise OSError\n"
		"def works(t):\n"
		"    try:\n"
		"        t()\n"
		"        return True\n"
		"    except OSError:\n"
		"        return False\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"disk_fill",
		"def f(x):\n"
		"    i = 0\n"
		"    while True:\n"
		"        with open(\"/tmp/%d\" % i, \"wb\") as t:\n"
		"            t.write(bytes(8 << 20))\n"
		"        i += 1\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"one_long_file",
		"def f(x):\n"
		"    with open(\"/tmp/x\", \"wb\") as t:\n"
		"        while True:\n"
		"            t.write(bytes(1 << 20))\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"writing_elsewhere",
		"import os\n"
		"def f(x):\n"
		"    found = []\n"
		"    for path in [\"/\", \"/usr\", \"/usr/lib\", \"/dev\", \"/dev/shm\", \"/home\", \"/root\", \"/var/tmp\", \"/etc\", \"/run\", \"/proc\", \"/sys\", \"/bin\"]:\n"
		"        try:\n"
		"            os.close(os.open(path + \"/x\", os.O_CREAT | os.O_WRONLY))\n"
		"            found.append(path)\n"
		"        except OSError:\n"
		"            pass\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"reading_elsewhere",
		"import os\n"
		"def f(x):\n"
		"    return [p for p in [\"/etc\", \"/home\", \"/root\", \"/var\", \"/run\", \"/sys\", \"/proc\", \"/boot\"] if os.path.exists(p)]\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"proc_walk",
		"import os, glob\n"
		"def f(x):\n"
		"    return glob.glob(\"/proc/*\") + glob.glob(\"/proc/self/fd/*\") + glob.glob(\"/dev/fd/*\")\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"symlink_out",
		"import os\n"
		"def f(x):\n"
		"    os.symlink(\"/etc\", \"/tmp/out\")\n"
		"    os.symlink(\"../../../../etc/passwd\", \"/tmp/up\")\n"
		"    return [p for p in (\"/tmp/out/passwd\", \"/tmp/up\") if os.path.exists(p)]\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"network",
		"import socket\n"
		"def f(x):\n"
		"    found = []\n"
		"    for family in range(1, 46):\n"
		"        for kind in (1, 2, 3):\n"
		"            try:\n"
		"                socket.socket(family, kind).close()\n"
		"                found.append(family)\n"
		"            except OSError:\n"
		"                pass\n"
		"    return sorted(set(found))\n",
		"assert f(1) == [1]\n", CODE_PASSED},
	{"connect_out",
		"import socket\n"
		"def f(x):\n"
		"    socket.create_connection((\"127.0.0.1\", 22), 1)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"ptrace_and_its_like",
		"import ctypes, os\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"def f(x):\n"
		"    up, buf = os.getppid(), ctypes.create_string_buffer(64)\n"
		"    vec = (ctypes.c_void_p * 2)(ctypes.cast(buf, ctypes.c_void_p), 64)\n"
		"    calls = {\"attach\": lambda: libc.ptrace(16, up, 0, 0), \"seize\": lambda: libc.ptrace(0x4206, up, 0, 0), \"read\": lambda: libc.process_vm_readv(up, vec, 1, vec, 1, 0), \"write\": lambda: libc.process_vm_writev(up, vec, 1, vec, 1, 0), \"getfd\": lambda: libc.syscall(438, libc.syscall(434, up, 0), 3, 0)}\n"
		"    return [n for n, call in calls.items() if call() >= 0]\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"new_namespaces",
		"import ctypes, os\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"def f(x):\n"
		"    if os.uname().machine != \"x86_64\":\n"
		"        return []\n"
		"    flags = [1 << b for b in (17, 25, 26, 27, 28, 29, 30)]\n"
		"    found = [b for b in flags if libc.unshare(b) == 0]\n"
		"    if libc.mount(b\"none\", b\"/tmp\", b\"tmpfs\", 0, None) == 0:\n"
		"        found.append(\"mount\")\n"
		"    for b in flags:\n"
		"        pid = libc.syscall(56, b | 17, 0, 0, 0, 0)\n"
		"        if pid == 0:\n"
		"            os._exit(0)\n"
		"        if pid > 0:\n"
		"            found.append(b)\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"young_system_calls",
		"import ctypes, os\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"def f(x):\n"
		"    if os.uname().machine != \"x86_64\":\n"
		"        return []\n"
		"    calls = {\"bpf\": 321, \"userfaultfd\": 323, \"io_uring_setup\": 425, \"perf_event_open\": 298, \"add_key\": 248, \"keyctl\": 250, \"open_by_handle_at\": 304, \"clone3\": 435, \"kexec_load\": 246, \"chroot\": 161}\n"
		"    return [n for n, nr in calls.items() if libc.syscall(nr, 0, 0, 0, 0, 0) >= 0]\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"becoming_root",
		"import os\n"
		"def f(x):\n"
		"    found = []\n"
		"    for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chown(\"/tmp\", 0, 0), lambda: os.nice(-5), lambda: os.mknod(\"/tmp/n\", 0o020666, os.makedev(1, 1))):\n"
		"        try:\n"
		"            call()\n"
		"            found.append(call.__code__.co_names)\n"
		"        except OSError:\n"
		"            pass\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"raising_limits",
		"import resource\n"
		"def f(x):\n"
		"    found = []\n"
		"    for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):\n"
		"        try:\n"
		"            resource.setrlimit(what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
		"            found.append(what)\n"
		"        except (ValueError, OSError):\n"
		"            pass\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"typing_for_the_user",
		"import fcntl, termios\n"
		"def f(x):\n"
		"    found = []\n"
		"    for fd in (0, 1, 2):\n"
		"        try:\n"
		"            fcntl.ioctl(fd, termios.TIOCSTI, b\"x\")\n"
		"            found.append(fd)\n"
		"        except OSError:\n"
		"            pass\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"environment",
		"import os\n"
		"def f(x):\n"
		"    return [v for v in os.environ.values() if \"secret\" in v]\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"kill_the_checker",
		"import os, signal\n"
		"def f(x):\n"
		"    os.kill(os.getppid(), signal.SIGKILL)\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"kill_everybody",
		"import os, signal\n"
		"def f(x):\n"
		"    os.kill(-1, signal.SIGKILL)\n"
		"    os.kill(1, signal.SIGKILL)\n"
		"    os.kill(1, signal.SIGSEGV)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"stop_the_checker",
		"import os, signal, time\n"
		"def f(x):\n"
		"    os.kill(os.getppid(), signal.SIGSTOP)\n"
		"    return 7\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"deaf_to_signals",
		"import signal\n"
		"for s in range(1, 65):\n"
		"    try:\n"
		"        signal.signal(s, signal.SIG_IGN)\n"
		"    except (OSError, ValueError):\n"
		"        pass\n"
		"while True:\n"
		"    pass\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"signal_handler_that_raises",
		"import signal, os\n"
		"def g(*a):\n"
		"    raise AssertionError(\"mine\")\n"
		"signal.signal(signal.SIGALRM, g)\n"
		"def f(x):\n"
		"    signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
		"    while True:\n"
		"        pass\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"sleep",
		"import time\n"
		"def f(x):\n"
		"    time.sleep(3600)\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"loop",
		"def f(x):\n"
		"    while True:\n"
		"        pass\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"loop_in_c",
		"def f(x):\n"
		"    return sum(range(10 ** 12))\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"loop_in_grandchildren",
		"import os\n"
		"def f(x):\n"
		"    for i in range(4):\n"
		"        if os.fork() == 0:\n"
		"            os.setsid()\n"
		"            while True:\n"
		"                pass\n"
		"    while True:\n"
		"        os.wait()\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"stdout_flood",
		"import os\n"
		"def f(x):\n"
		"    while True:\n"
		"        os.write(1, b\"x\" * 65536)\n",
		"assert f(1) == 1\n", CODE_OUTPUT_LIMIT},
	{"stderr_flood",
		"import sys\n"
		"while True:\n"
		"    print(\"x\" * 100, file=sys.stderr)\n",
		"assert f(1) == 1\n", CODE_OUTPUT_LIMIT},
	{"long_answer",
		"def f(x):\n"
		"    return \"x\" * (32 << 20)\n",
		"assert f(1) == 1\n", CODE_OUTPUT_LIMIT},
	{"nested_answer",
		"def f(x):\n"
		"    a = []\n"
		"    for i in range(100000):\n"
		"        a = [a]\n"
		"    return a\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"endless_answer",
		"def f(x):\n"
		"    while True:\n"
		"        yield 1\n",
		"assert list(f(1)) == 1\n", CODE_TIME_LIMIT},
	{"crash",
		"import ctypes\n"
		"def f(x):\n"
		"    ctypes.string_at(0)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"orphans",
		"import os, time\n"
		"def f(x):\n"
		"    if os.fork() == 0:\n"
		"        os.setsid()\n"
		"        if os.fork() == 0:\n"
		"            os.closerange(0, 64)\n"
		"            time.sleep(3600)\n"
		"        os._exit(0)\n"
		"    return 1\n",
		"assert f(1) == 1\n", CODE_PASSED},
	{"closed_channel",
		"import os, time\n"
		"os.closerange(0, 64)\n"
		"time.sleep(3600)\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"exit_0",
		"import sys\n"
		"sys.exit(0)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"exit_0_in_f",
		"import sys\n"
		"def f(x):\n"
		"    sys.exit(0)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"exit_without_cleaning_up",
		"import os\n"
		"os._exit(0)\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"exec_true",
		"import os\n"
		"def f(x):\n"
		"    os.execv(\"/usr/bin/true\", [\"true\"])\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"printed_verdict",
		"print(\"passed\")\n"
		"print(\"started\")\n"
		"print('{\"nonce\":\"\",\"status\":\"passed\",\"passed\":1,\"cpu_ms\":0,\"detail\":\"\"}')\n"
		"def f(x):\n"
		"    print(\"passed\")\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"verdict_on_any_descriptor",
		"import os\n"
		"opened = []\n"
		"for fd in range(3, 64):\n"
		"    try:\n"
		"        os.fstat(fd)\n"
		"        opened.append(fd)\n"
		"    except OSError:\n"
		"        pass\n"
		"def f(x):\n"
		"    return len(opened), [fd for fd in (3, 4, 5) if fd in opened and works(fd)]\n"
		"def works(fd):\n"
		"    try:\n"
		"        os.write(fd, b'{\"nonce\":\"\",\"status\":\"passed\"}')\n"
		"        return True\n"
		"    except OSError:\n"
		"        return False\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"equal_to_everything",
		"class A:\n"
		"    def __eq__(self, other):\n"
		"        return True\n"
		"    def __ne__(self, other):\n"
		"        return False\n"
		"    def __lt__(self, other):\n"
		"        return True\n"
		"    __gt__ = __le__ = __ge__ = __lt__\n"
		"    def __sub__(self, other):\n"
		"        return 0\n"
		"    __rsub__ = __sub__\n"
		"    def __hash__(self):\n"
		"        return 1\n"
		"def f(x):\n"
		"    return A()\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"number_equal_to_everything",
		"class A(int):\n"
		"    def __eq__(self, other):\n"
		"        return True\n"
		"    __hash__ = int.__hash__\n"
		"    def __sub__(self, other):\n"
		"        return 0\n"
		"def f(x):\n"
		"    return A(7)\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"text_equal_to_everything",
		"class A(str):\n"
		"    def __eq__(self, other):\n"
		"        return True\n"
		"    __hash__ = str.__hash__\n"
		"def f(x):\n"
		"    return A(\"no\")\n",
		"assert f(1) == \"yes\"\n", CODE_FAILED},
	{"list_equal_to_everything",
		"class A(list):\n"
		"    def __eq__(self, other):\n"
		"        return True\n"
		"def f(x):\n"
		"    return A([1])\n",
		"assert f(1) == [2]\n", CODE_FAILED},
	{"close_to_everything",
		"class A:\n"
		"    def __sub__(self, other):\n"
		"        return 0\n"
		"    __rsub__ = __abs__ = __float__ = __sub__\n"
		"def f(x):\n"
		"    return A()\n",
		"assert abs(f(1) - 5) < 1e-6\n", CODE_FAILED},
	{"shadowed_builtins",
		"def abs(x):\n"
		"    return 0\n"
		"def all(x):\n"
		"    return True\n"
		"def isinstance(a, b):\n"
		"    return True\n"
		"def len(x):\n"
		"    return 1\n"
		"def f(x):\n"
		"    return 7\n",
		"assert abs(f(1) - 5) < 1e-6 and len([]) == 1\n", CODE_FAILED},
	{"shadowed_module",
		"class math:\n"
		"    isclose = staticmethod(lambda a, b: True)\n"
		"def f(x):\n"
		"    return 7\n",
		"import math\n"
		"assert math.isclose(f(1), 5)\n", CODE_FAILED},
	{"patched_builtins",
		"import builtins\n"
		"builtins.AssertionError = None\n"
		"builtins.abs = lambda x: 0\n"
		"builtins.all = lambda x: True\n"
		"builtins.isinstance = lambda *a: True\n"
		"builtins.__build_class__ = None\n"
		"builtins.len = lambda x: 1\n"
		"def f(x):\n"
		"    return 7\n",
		"assert abs(f(1) - 5) < 1e-6\n", CODE_FAILED},
	{"patched_harness",
		"import __main__\n"
		"__main__.check = lambda *a: (__main__.Verdict(\"passed\"), 1)\n"
		"__main__.judge_end = lambda *a: __main__.Verdict(\"passed\")\n"
		"__main__.run_tests = lambda *a: None\n"
		"__main__.REPORT = 1\n"
		"def f(x):\n"
		"    return 7\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"patched_frames",
		"import sys\n"
		"def f(x):\n"
		"    frame = sys._getframe()\n"
		"    while frame:\n"
		"        for name in list(frame.f_globals):\n"
		"            if callable(frame.f_globals[name]) and name not in (\"f\", \"Peer\", \"Remote\", \"EXCEPTIONS\", \"TooLong\", \"Ended\") and not name.startswith(\"__\"):\n"
		"                frame.f_locals[\"verdict\"] = \"passed\"\n"
		"        frame = frame.f_back\n"
		"    return 7\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"the_secret_in_memory",
		"import gc, sys\n"
		"def f(x):\n"
		"    found = []\n"
		"    for o in gc.get_objects():\n"
		"        if type(o) is dict and \"nonce\" in o and \"tests\" in o:\n"
		"            found.append(\"secret\")\n"
		"    frame = sys._getframe()\n"
		"    while frame:\n"
		"        if \"secret\" in frame.f_locals:\n"
		"            found.append(\"frame\")\n"
		"        frame = frame.f_back\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"descriptors_of_the_secret",
		"import os\n"
		"def f(x):\n"
		"    found = []\n"
		"    for fd in range(3, 64):\n"
		"        try:\n"
		"            text = os.pread(fd, 10000, 0)\n"
		"            found.append(text)\n"
		"        except OSError:\n"
		"            pass\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"forged_answers",
		"import sys, gc\n"
		"def f(x):\n"
		"    frame = sys._getframe()\n"
		"    while frame:\n"
		"        peer = frame.f_locals.get(\"peer\") or frame.f_locals.get(\"self\")\n"
		"        if hasattr(peer, \"send\"):\n"
		"            for i in range(3):\n"
		"                peer.send('[\"ok\",true,[]]')\n"
		"            break\n"
		"        frame = frame.f_back\n"
		"    return 7\n",
		"assert f(1) == 1 and f(2) == 2 and f(3) == 3\n", CODE_FAILED},
	{"forged_class",
		"class Fraction:\n"
		"    numerator, denominator = 1, 2\n"
		"    def __eq__(self, other):\n"
		"        return True\n"
		"Fraction.__module__ = \"fractions\"\n"
		"def f(x):\n"
		"    return Fraction()\n",
		"assert f(1) == 3\n", CODE_FAILED},
	{"planted_module",
		"import os\n"
		"for name in (\"fractions\", \"math\", \"random\", \"decimal\"):\n"
		"    with open(\"/tmp/%s.py\" % name, \"w\") as t:\n"
		"        t.write(\"import os\\nisclose = lambda *a: True\\nclass Fraction:\\n    __eq__ = lambda *a: True\\n    __init__ = lambda *a: None\")\n"
		"import sys\n"
		"sys.path.insert(0, \"/tmp\")\n"
		"def f(x):\n"
		"    return 7\n",
		"import fractions, random\n"
		"assert fractions.Fraction(f(1)) == 1\n", CODE_FAILED},
	{"raised_assertion",
		"def f(x):\n"
		"    raise AssertionError\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"raised_stop",
		"def f(x):\n"
		"    raise StopIteration\n",
		"def check(candidate):\n"
		"    assert [candidate(i) for i in range(2)] == [1, 2]\n", CODE_RUNTIME_ERROR},
	{"raised_stop_in_a_map",
		"def f(x):\n"
		"    raise StopIteration\n",
		"for got, want in zip(map(f, [1, 2]), [1, 2]):\n"
		"    assert got == want\n", CODE_RUNTIME_ERROR},
	{"emptied_argument",
		"def f(x):\n"
		"    x.clear()\n"
		"    return []\n",
		"x = [3, 1, 2]\n"
		"assert f(x) == sorted(x)\n", CODE_FAILED},
	{"interrupted_checker",
		"import os, signal\n"
		"def f(x):\n"
		"    for i in range(100):\n"
		"        os.kill(os.getppid(), signal.SIGINT)\n"
		"    return 7\n",
		"try:\n"
		"    assert f(1) == 1\n"
		"except KeyboardInterrupt:\n"
		"    pass\n", CODE_FAILED},
	{"names_of_the_harness",
		"globals()[\"__builtins__\"] = {}\n"
		"globals()[\"module os\"] = 1\n"
		"candidate = check = Verdict = assertion = None\n"
		"def f(x):\n"
		"    return 7\n",
		"def check(candidate):\n"
		"    assert candidate(1) == 1\n", CODE_FAILED},
	{"raised_interrupt",
		"def f(x):\n"
		"    raise KeyboardInterrupt\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"redefined_check",
		"def check(candidate):\n"
		"    pass\n"
		"def f(x):\n"
		"    return 7\n",
		"def check(candidate):\n"
		"    assert candidate(1) == 1\n", CODE_FAILED},
	{"memory_of_unmapped_pages",
		"import ctypes, os, resource, socket\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"libc.mmap.restype = ctypes.c_void_p\n"
		"libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]\n"
		"NO_MAP = ctypes.c_void_p(-1).value\n"
		"def f(x):\n"
		"    found = [flags for flags in (0x21, 0x40022, 0x40021) if libc.mmap(None, 2 << 20, 3, flags, -1, 0) != NO_MAP]\n"
		"    if libc.mmap(None, 4096, 3, 0x22, -1, 0) == NO_MAP:\n"
		"        found.append(\"private memory is refused\")\n"
		"    return found + [p for p in (\"/dev/zero\", \"/dev/mem\", \"/dev/kvm\") if os.path.exists(p)]\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"memory_of_the_kernel",
		"import ctypes, os, resource, socket\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"libc.mmap.restype = ctypes.c_void_p\n"
		"libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]\n"
		"NO_MAP = ctypes.c_void_p(-1).value\n"
		"import struct\n"
		"def f(x):\n"
		"    open(\"/tmp/x\", \"w\").close()\n"
		"    entries = [(1, 7, 2**32 - 1)] + [(2, 7, os.getuid())] * 100 + [(4, 7, 2**32 - 1), (16, 7, 2**32 - 1), (32, 7, 2**32 - 1)]\n"
		"    acl = struct.pack(\"<I\", 2) + b\"\".join(struct.pack(\"<HHI\", *e) for e in entries)\n"
		"    r, w = os.pipe()\n"
		"    page = ctypes.create_string_buffer(4096)\n"
		"    part = (ctypes.c_void_p * 2)(ctypes.cast(page, ctypes.c_void_p), 4096)\n"
		"    aio = ctypes.c_ulong(0)\n"
		"    def give(call, *args):\n"
		"        if call(*args) < 0:\n"
		"            raise OSError\n"
		"    tries = {\"acl\": lambda: os.setxattr(\"/tmp/x\", \"system.posix_acl_access\", acl), \"vmsplice\": lambda: give(libc.vmsplice, w, part, 1, 0), \"io_setup\": lambda: give(libc.syscall, 206 if os.uname().machine == \"x86_64\" else 0, 128, ctypes.byref(aio)), \"socketpair\": lambda: socket.socketpair(16)}\n"
		"    return [name for name, t in tries.items() if works(t)]\n"
		"def works(t):\n"
		"    try:\n"
		"        t()\n"
		"        return True\n"
		"    except OSError:\n"
		"        return False\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"limits_of_the_checker",
		"import resource\n"
		"for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU):\n"
		"    try:\n"
		"        resource.prlimit(1, what, (0, 0))\n"
		"    except OSError:\n"
		"        pass\n"
		"def f(x):\n"
		"    return 7\n",
		"import fractions, statistics\n"
		"assert f(1) == 1\n", CODE_FAILED},
	{"loop_in_children_nobody_waits_for",
		"import os, signal, time\n"
		"def f(x):\n"
		"    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
		"    for i in range(15):\n"
		"        if os.fork() == 0:\n"
		"            end = time.process_time() + 0.1\n"
		"            while time.process_time() < end:\n"
		"                pass\n"
		"            os._exit(0)\n"
		"        try:\n"
		"            os.wait()\n"
		"        except ChildProcessError:\n"
		"            pass\n"
		"    return 1\n",
		"assert f(1) == 1\n", CODE_TIME_LIMIT},
	{"a_detail_that_is_no_text",
		"def f(x):\n"
		"    return \"\\ud800\\0\"\n",
		"raise ValueError(f(1))\n", CODE_FAILED},
	{"the_channel_from_afar",
		"import os, socket\n"
		"def f(x):\n"
		"    found = []\n"
		"    for fd in range(3, 64):\n"
		"        try:\n"
		"            os.write(fd, b\"\")\n"
		"            os.fstat(fd)\n"
		"            if os.pread(fd, 1, 0):\n"
		"                found.append(fd)\n"
		"        except OSError:\n"
		"            pass\n"
		"    return found\n",
		"assert f(1) == []\n", CODE_PASSED},
	{"traced",
		"import sys, threading\n"
		"def g(frame, event, arg):\n"
		"    frame.f_locals[\"verdict\"] = frame.f_locals[\"progress\"] = \"passed\"\n"
		"    return g\n"
		"sys.settrace(g)\n"
		"sys.setprofile(g)\n"
		"threading.settrace(g)\n"
		"def f(x):\n"
		"    return 7\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"a_thread_that_ends_the_process",
		"import os, threading, time\n"
		"def g():\n"
		"    time.sleep(0.05)\n"
		"    os._exit(0)\n"
		"def f(x):\n"
		"    threading.Thread(target=g).start()\n"
		"    time.sleep(0.5)\n"
		"    return 7\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"a_child_that_answers",
		"import os\n"
		"def f(x):\n"
		"    if os.fork():\n"
		"        os._exit(0)\n"
		"    return 7\n",
		"assert f(1) == 1\n", CODE_FAILED},
	{"at_exit_and_del",
		"import atexit, os, sys\n"
		"class A:\n"
		"    def __del__(self):\n"
		"        os.write(1, b\"passed\")\n"
		"        os._exit(0)\n"
		"a = A()\n"
		"atexit.register(os._exit, 0)\n"
		"sys.excepthook = lambda *e: os._exit(0)\n"
		"def f(x):\n"
		"    raise KeyboardInterrupt\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"patched_exceptions",
		"import __main__, builtins\n"
		"class A(Exception):\n"
		"    pass\n"
		"A.__name__ = A.__qualname__ = \"Verdict\"\n"
		"__main__.EXCEPTIONS = {\"Verdict\": A}\n"
		"def f(x):\n"
		"    raise A(\"passed\")\n",
		"assert f(1) == 1\n", CODE_RUNTIME_ERROR},
	{"names_that_the_tests_keep",
		"import sys\n"
		"frame = sys._getframe()\n"
		"while \"peer\" not in frame.f_locals:\n"
		"    frame = frame.f_back\n"
		"peer = frame.f_locals[\"peer\"]\n"
		"peer.kept.extend([lambda *a: None] * 9)\n"
		"peer.send('[\"loaded\",\"f\",\"__builtins__\",\"__name__\",\"AssertionError\",\"expected\",\"check\",\"module builtins\",\"\"]')\n"
		"peer.serve()\n",
		"def check(candidate):\n"
		"    expected = 1\n"
		"    assert candidate(1) is None and __name__ == \"test\"\n"
		"    assert AssertionError is not None and candidate(1) == expected\n", CODE_FAILED},
};
/* clang-format on */

START_TEST(attack_is_contained)
	{
		const struct example *e = &attacks[_i];
		setenv("THRESH_TEST_KEY", "a secret", 1);
		int64_t before_ms = clock_mono_ms();
		struct code_outcome o = run(e->code, e->test, "f");
		expect(e->name, &o, e->status);
		/* The backstop, the time to die, and a busy machine. */
		ck_assert_int_lt(clock_mono_ms() - before_ms, 10000);
		assert_nobody_is_left();
	}
END_TEST

START_TEST(memory_and_forks_are_bounded_without_cgroups)
	{
		struct error err = {0};
		struct code_checker_config config = usual;
		setenv("THRESH_TEST_NO_CGROUP", "1", 1);
		/* Nothing here sleeps, and the machine may be busy. */
		config.limits.wall_ms = 30000;
		code_checker_free(checker);
		checker = code_checker_new(&config, &err);
		ck_assert_msg(checker != NULL, "%s", err.msg);
		for (size_t i = 0; i < ARRAY_LEN(attacks); i++) {
			const struct example *e = &attacks[i];
			if (e->status == CODE_MEMORY_LIMIT || strstr(e->name, "bomb")) {
				struct code_outcome o = run(e->code, e->test, "f");
				expect(e->name, &o, e->status);
				assert_nobody_is_left();
			}
		}
	}
END_TEST

START_TEST(bytes_that_are_no_text_do_not_compile)
	{
		static const char zero[] = "def f(x):\n    return 1\n\0", latin[] = "x = '\xff'\n";
		struct slice test = slice_z("assert f(1) == 1");
		struct code_tests tests = {.items = &test, .n = 1, .entry_point = slice_z("f")};
		struct code_outcome o;
		code_check(checker, (struct slice){zero, sizeof(zero) - 1}, &tests, 0, NULL, &o);
		expect("zero", &o, CODE_COMPILE_ERROR);
		code_check(checker, slice_z(latin), &tests, 0, NULL, &o);
		expect("latin", &o, CODE_COMPILE_ERROR);
	}
END_TEST

START_TEST(details_are_steady)
	{
		struct code_outcome o = run(
			"class A: pass\ndef f(x):\n    raise ValueError(A(), '0xff')\n",
			"assert f(1) == 1", "f");
		expect("address", &o, CODE_RUNTIME_ERROR);
		ck_assert_str_eq(o.detail, "ValueError: (<candidate.A object at 0x>, '0xff')");
	}
END_TEST

START_TEST(long_code_is_refused)
	{
		AUTO_FREE char *code = xmalloc(CODE_BYTES_MAX + 2);
		memset(code, '\n', CODE_BYTES_MAX + 1);
		code[CODE_BYTES_MAX + 1] = '\0';
		struct code_outcome o = run(code, "assert f(1) == 1", "f");
		expect("long", &o, CODE_COMPILE_ERROR);
	}
END_TEST

/* Empty files take no room in /tmp and are nobody's memory but the kernel's. */
START_TEST(files_count_as_memory)
	{
		struct error err = {0};
		struct code_checker_config config = usual;
		setenv("THRESH_TEST_NO_CGROUP", "1", 1);
		config.limits.memory_bytes = 64 << 20;
		config.limits.cpu_ms = 20000;
		config.limits.wall_ms = 60000;
		code_checker_free(checker);
		checker = code_checker_new(&config, &err);
		ck_assert_msg(checker != NULL, "%s", err.msg);
		struct code_outcome o = run(
			"import os\ndef f(x):\n    for i in range(200000):\n"
			"        os.close(os.open('/tmp/%d' % i, os.O_CREAT | os.O_WRONLY))\n",
			"assert f(1) == 1", "f");
		expect("files", &o, CODE_MEMORY_LIMIT);
		assert_nobody_is_left();
	}
END_TEST

START_TEST(tests_that_end_the_process_say_nothing)
	{
		static const char *const endings[] = {"assert f(1) == 1\nimport sys\nsys.exit(0)",
			"f(1)\nraise SystemExit", "f(1)\nimport unittest\nunittest.main()"};
		for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
			struct code_outcome o = run("def f(x):\n    return 1\n", endings[i], "f");
			expect(endings[i], &o, CODE_TEST_ERROR);
		}
	}
END_TEST

struct fourth {
	int n;
	pid_t pid;
};

static void find_fourth(void *ctx, pid_t pid)
{
	struct fourth *f = ctx;
	f->pid = ++f->n == 4 ? pid : f->pid;
}

/* As the kernel does when the machine, and not the run, is out of memory. The run is tried twice. */
START_TEST(a_run_killed_from_outside_is_no_verdict)
	{
		pid_t killer = fork();
		ck_assert_int_ge(killer, 0);
		while (killer == 0) {
			/* The test, this one, bubblewrap, the checker. */
			struct fourth f = {0, 0};
			tree_each(getppid(), find_fourth, &f);
			if (f.pid) {
				kill(f.pid, SIGKILL);
			}
			usleep(20000);
		}
		struct code_outcome o = run(
			"import time\ntime.sleep(3600)\n", "assert f(1) == 1", "f");
		kill(killer, SIGKILL);
		waitpid(killer, NULL, 0);
		expect("killed", &o, CODE_SANDBOX_ERROR);
		assert_nobody_is_left();
	}
END_TEST

/* MBPP's shape: a list of assertions, names taken from the reference, which may be those of builtins. */
START_TEST(assertions_without_entry_point)
	{
		struct slice items[] = {slice_z("assert sum(1, 2) == 3"),
			slice_z("assert sum(2, 2) == 4"), slice_z("assert sum(0, base) == 9")};
		struct code_tests tests = {.items = items,
			.n = 3,
			.setup = slice_z("base = 9"),
			.reference = slice_z("def sum(a, b):\n    return a + b\n")};
		struct code_outcome o;
		code_check(checker, slice_z("def sum(a, b):\n    return b + a\n"), &tests, 0, NULL,
			&o);
		expect("right", &o, CODE_PASSED);
		ck_assert_uint_eq(o.n_passed, 3);
		code_check(checker, slice_z("def sum(a, b):\n    return 4 if a else 3\n"), &tests,
			0, NULL, &o);
		expect("wrong", &o, CODE_FAILED);
		ck_assert_uint_eq(o.n_passed, 0);
		code_check(checker,
			slice_z("def sum(a, b):\n    return 3 if b == 2 and a == 1 else 4\n"),
			&tests, 0, NULL, &o);
		expect("wrong at the end", &o, CODE_FAILED);
		ck_assert_str_eq(o.detail, "assert sum(0, base) == 9");
		ck_assert_uint_eq(o.n_passed, 2);
	}
END_TEST

START_TEST(another_time_limit_for_one_run)
	{
		struct slice test = slice_z("assert f(1) == 1");
		struct code_tests tests = {.items = &test, .n = 1, .entry_point = slice_z("f")};
		const char *code =
			"import time\ndef f(x):\n    end = time.process_time() + 1.2\n"
			"    while time.process_time() < end:\n        pass\n    return 1\n";
		struct code_outcome o;
		code_check(checker, slice_z(code), &tests, 0, NULL, &o);
		expect("as configured", &o, CODE_TIME_LIMIT);
		code_check(checker, slice_z(code), &tests, 8000, NULL, &o);
		expect("longer", &o, CODE_PASSED);
		ck_assert_uint_ge(o.cpu_ms, 1200);
		ck_assert_uint_lt(o.cpu_ms, 2000);
	}
END_TEST

/* SIGKILL leaves nobody the time to clean up: the kernel must. */
START_TEST(a_run_dies_with_its_caller)
	{
		pid_t caller = fork();
		ck_assert_int_ge(caller, 0);
		if (caller == 0) {
			run("import time\ntime.sleep(3600)\n", "assert f(1) == 1", "f");
			_exit(0);
		}
		/* The caller, bubblewrap, the checker and the candidate. */
		for (int i = 0; i < 5000 && tree_measure(caller).processes < 4; i++) {
			usleep(1000);
		}
		ck_assert_uint_eq(tree_measure(caller).processes, 4);
		kill(caller, SIGKILL);
		ck_assert_int_eq(waitpid(caller, NULL, 0), caller);
		for (int i = 0; i < 1000 && waitpid(-1, NULL, WNOHANG) >= 0; i++) {
			usleep(1000);
		}
		assert_nobody_is_left();
	}
END_TEST

/* --- the sandbox without a language --- */

START_TEST(programs_end_as_they_do)
	{
		static const struct {
			const char *script;
			enum sandbox_end end;
			int exit_code;
			const char *out, *report;
		} cases[] = {
			{"echo hello; exit 3", SANDBOX_EXITED, 3, "hello\n", ""},
			{"sh -c 'kill -9 $$'; exit $?", SANDBOX_EXITED, 137, "", ""},
			{"cat <&4 >&3; cat <&5", SANDBOX_EXITED, 0, "second", "first"},
			{"while :; do echo x; done >&3", SANDBOX_OUTPUT, -1, "", NULL},
			{"sleep 100 & sleep 100", SANDBOX_WALL, -1, "", ""},
		};
		struct error err = {0};
		struct sandbox_config config = {.scratch_bytes = 1 << 20};
		struct sandbox *box = sandbox_new(&config, &err);
		ck_assert_msg(box != NULL, "%s", err.msg);
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			const char *argv[] = {"/usr/bin/dash", "-c", cases[i].script, NULL};
			struct sandbox_command command = {.argv = argv,
				.inputs = {slice_z("first"), slice_z("second")},
				.n_inputs = 2,
				.limits = {1000, 1500, 256 << 20, 1 << 20, 32}};
			struct sandbox_result r;
			sandbox_run(box, &command, &r);
			ck_assert_int_eq(r.end, cases[i].end);
			ck_assert_str_eq(r.out.data, cases[i].out);
			ck_assert(!cases[i].report || strcmp(r.report.data, cases[i].report) == 0);
			ck_assert(cases[i].exit_code < 0 || r.exit_code == cases[i].exit_code);
			sandbox_result_release(&r);
			assert_nobody_is_left();
		}
		sandbox_free(box);
	}
END_TEST

/* --- without layers --- */

START_TEST(without_bubblewrap_it_refuses_or_is_told_to)
	{
		struct error err = {0};
		struct code_checker_config config = usual;
		setenv("THRESH_TEST_BWRAP", "/nonexistent", 1);
		ck_assert_ptr_null(code_checker_new(&config, &err));
		ck_assert_int_eq(err.kind, FAIL_IO);
		ck_assert_ptr_nonnull(strstr(err.msg, "bwrap"));
		ck_assert_ptr_nonnull(strstr(err.hint, "unsafe"));
		config.unsafe = true;
		err = (struct error){0};
		checker = code_checker_new(&config, &err);
		ck_assert_msg(checker != NULL, "%s", err.msg);
		ck_assert_ptr_nonnull(strstr(code_checker_missing(checker), "namespaces"));
		struct code_outcome o = run("def f(x):\n    return x\n", "assert f(1) == 1", "f");
		expect("right", &o, CODE_PASSED);
		o = run("def f(x):\n    while True:\n        pass\n", "assert f(1) == 1", "f");
		expect("loop", &o, CODE_TIME_LIMIT);
		code_checker_free(checker);
	}
END_TEST

START_TEST(a_layer_that_is_forbidden_is_named)
	{
		struct error err = {0};
		/* A bubblewrap that may not do what it is asked for. */
		setenv("THRESH_TEST_BWRAP", "/usr/bin/false", 1);
		ck_assert_ptr_null(code_checker_new(&usual, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "namespaces"));
	}
END_TEST

START_TEST(an_interpreter_that_is_not_there)
	{
		struct error err = {0};
		struct code_checker_config config = usual;
		config.interpreter = "no-such-python";
		ck_assert_ptr_null(code_checker_new(&config, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "no-such-python"));
	}
END_TEST

/* What it is shows when it is run. */
START_TEST(an_interpreter_that_is_none)
	{
		struct error err = {0};
		struct code_checker_config config = usual;
		config.interpreter = "/usr/bin/false";
		ck_assert_ptr_null(code_checker_new(&config, &err));
		ck_assert_ptr_nonnull(strstr(err.msg, "/usr/bin/false"));
	}
END_TEST

/* --- cgroups, where we may make them --- */

static pid_t start_in(struct cgroup *group, void (*work)(void))
{
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		cgroup_join(group, getpid());
		work();
		_exit(0);
	}
	return pid;
}

static void fill_memory(void)
{
	const size_t bytes = 128 << 20;
	memset(xmalloc(bytes), 1, bytes);
}

static void fork_ten_times(void)
{
	pid_t children[10];
	int n = 0;
	while (n < 10 && (children[n] = fork()) > 0) {
		n++;
	}
	if (n < 10 && children[n] == 0) {
		pause();
	}
	for (int i = 0; i < n; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	_exit(n);
}

static int end_of(pid_t pid)
{
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

START_TEST(groups_bound_memory_and_processes)
	{
		struct cgroups *groups = cgroups_find();
		if (!groups) {
			printf("# no cgroup is delegated to us: skipped\n");
			return;
		}
		struct cgroup *group = cgroup_take(groups, 32 << 20, 4);
		ck_assert_ptr_nonnull(group);
		/* Four with their parent; threads of a sanitizer count as well. */
		int n_forks = end_of(start_in(group, fork_ten_times));
		ck_assert_int_le(n_forks, 3);
#ifndef __SANITIZE_THREAD__
		ck_assert_int_eq(n_forks, 3);
#endif
		ck_assert_int_eq(end_of(start_in(group, fill_memory)), 128 + SIGKILL);
		ck_assert(cgroup_was_full(group));
		cgroup_give_back(groups, group);
		ck_assert_ptr_eq(cgroup_take(groups, 256 << 20, 4), group);
		ck_assert(!cgroup_was_full(group));
		ck_assert_int_eq(end_of(start_in(group, fill_memory)), 0);
		cgroup_give_back(groups, group);
		cgroups_free(groups);
	}
END_TEST

/* --- code in an answer --- */

static const struct {
	const char *text, *code;
} answers[] = {
	{"", NULL},
	{"no code", NULL},
	{"```python\na\n```\n", "a\n"},
	{"```\na\n```\nand\n```\nb\n```", "b\n"},
	{"```python\na\n```\nprints\n```\nb\n```", "a\n"},
	{"```py\na\n```\n```Python\nb\n```\n```text\nc\n```", "b\n"},
	{"```rust\na\n```", NULL},
	{"~~~python title=x\na\n```\nb\n~~~", "a\n```\nb\n"},
	{"````python\na = '''\n```\n'''\n````", "a = '''\n```\n'''\n"},
	{"1. so\n   ```python\n   def f():\n       pass\n   ```", "def f():\n    pass\n"},
	{"cut off\n```python\ndef f():\n    ret", "def f():\n    ret\n"},
	{"```python\na\n```\n```python\n```", "a\n"},
	{"<think>\n```python\na\n```\n</think>\nnone", NULL},
	{"<think>\n```python\na\n</think>\n```python\nb\n```", "b\n"},
	{"inline ```python\na```", NULL},
	{"```a``` is\n```python\nb\n```\r\n", "b\n"},
};

START_TEST(the_block_that_counts)
	{
		struct str code;
		str_init(&code, STR_NO_CAP);
		bool found = code_block_find(
			slice_z(answers[_i].text), code_language_tags(0), &code);
		ck_assert_int_eq(found, answers[_i].code != NULL);
		ck_assert_str_eq(code.data, found ? answers[_i].code : "");
		str_release(&code);
	}
END_TEST

START_TEST(code_goes_on_or_begins_anew)
	{
		static const struct {
			const char *code, *whole;
		} cases[] = {
			{"    return x", "def f(x):\n    return x\n"},
			{"def f(x):\n    return 1", "def f(x):\n\n\ndef f(x):\n    return 1\n"},
			{"f = g", "def f(x):\n\n\nf = g\n"},
			{"f == g", "def f(x):\nf == g\n"},
			{"def ff(x): 1", "def f(x):\ndef ff(x): 1\n"},
			{"from __future__ import annotations\ndef f(x): 1",
				"from __future__ import annotations\ndef f(x):\n\n\n\ndef f(x): "
				"1\n"},
		};
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			struct str out;
			str_init(&out, STR_NO_CAP);
			code_assemble(
				slice_z("def f(x):\n"), slice_z("f"), slice_z(cases[i].code), &out);
			ck_assert_str_eq(out.data, cases[i].whole);
			str_release(&out);
		}
	}
END_TEST

/* --- HumanEval, where it is at hand --- */

/* Appended to a right solution: the same function with every result changed. */
static const char mutation[] = "\n\n_right = %s\n"
			       "def _wrong(r):\n"
			       "    if r is None or isinstance(r, bool):\n        return not r\n"
			       "    if isinstance(r, (int, float)):\n        return r + 1\n"
			       "    if isinstance(r, str):\n        return r + '?'\n"
			       "    if isinstance(r, tuple):\n        return r + (0,)\n"
			       "    if isinstance(r, dict):\n        return {**r, 'wrong': 1}\n"
			       "    return list(r) + [0]\n"
			       "def %s(*args):\n    return _wrong(_right(*args))\n";

enum variant { VARIANT_RIGHT, VARIANT_MUTATED, VARIANT_NOTHING, N_VARIANTS };

#define PROBLEMS_MAX 200

struct problems {
	struct json *rows[PROBLEMS_MAX];
	size_t n;
	struct code_outcome outcomes[PROBLEMS_MAX * N_VARIANTS];
};

static struct slice text_of(const struct json *row, const char *key)
{
	struct slice text;
	text.data = json_str(json_get(row, key), &text.len);
	ck_assert_ptr_nonnull(text.data);
	return text;
}

static void run_variant(void *ctx, size_t i, unsigned thread UNUSED)
{
	struct problems *p = ctx;
	const struct json *row = p->rows[i / N_VARIANTS];
	enum variant variant = (enum variant)(i % N_VARIANTS);
	struct slice test = text_of(row, "test"), entry = text_of(row, "entry_point");
	struct code_tests tests = {
		.items = &test, .n = 1, .prefix = text_of(row, "prompt"), .entry_point = entry};
	struct str code;
	str_init(&code, STR_NO_CAP);
	code_assemble(tests.prefix, entry,
		variant == VARIANT_NOTHING ? slice_z("    pass\n")
					   : text_of(row, "canonical_solution"),
		&code);
	if (variant == VARIANT_MUTATED) {
		const char *at = mutation;
		for (const char *name; (name = strstr(at, "%s")); at = name + 2) {
			str_append(&code, at, (size_t)(name - at));
			str_append(&code, entry.data, entry.len);
		}
		str_append_z(&code, at);
	}
	code_check(
		checker, (struct slice){code.data, code.len}, &tests, 5000, NULL, &p->outcomes[i]);
	str_release(&code);
}

static bool read_problems(struct problems *p)
{
	const char *env = getenv("THRESH_SHARED");
	AUTO_FREE char *path = file_join(env ? env : "", "data/humaneval.jsonl");
	struct error err = {0};
	struct lines in = {0};
	struct slice line;
	if (!env || !file_exists(path)) {
		printf("# data/humaneval.jsonl is not there (THRESH_SHARED names its folder): "
		       "skipped\n");
		return false;
	}
	ck_assert(lines_open(&in, path, 1 << 20, &err));
	while (p->n < PROBLEMS_MAX && lines_next(&in, &line, &err) == LINES_LINE) {
		p->rows[p->n] = json_parse(line.data, line.len, &err);
		ck_assert_ptr_nonnull(p->rows[p->n++]);
	}
	lines_release(&in);
	return true;
}

START_TEST(humaneval_is_told_apart)
	{
		struct problems p = {0};
		size_t n_right = 0, n_wrong = 0;
		if (!read_problems(&p)) {
			return;
		}
		int64_t start_ms = clock_mono_ms();
		struct workers *workers = workers_new(0);
		for (size_t i = 0; i < p.n * N_VARIANTS; i++) {
			workers_push(workers, run_variant, &p, i);
		}
		workers_wait(workers);
		workers_free(workers);
		int64_t took_ms = clock_mono_ms() - start_ms;
		for (size_t i = 0; i < p.n * N_VARIANTS; i++) {
			const struct code_outcome *o = &p.outcomes[i];
			bool right = i % N_VARIANTS == VARIANT_RIGHT;
			n_right += right && o->status == CODE_PASSED;
			/* A changed result may also run the tests' own code into an error or a loop. */
			n_wrong += !right && o->status != CODE_PASSED &&
				o->status < CODE_TEST_ERROR;
			if ((o->status == CODE_PASSED) != right || o->status >= CODE_TEST_ERROR) {
				printf("# HumanEval/%zu variant %zu: %s %s\n", i / N_VARIANTS,
					i % N_VARIANTS, code_status_names[o->status], o->detail);
			}
		}
		printf("# HumanEval: %zu of %zu pass, %zu of %zu wrong ones do not, %.1f runs/s\n",
			n_right, p.n, n_wrong, p.n * (N_VARIANTS - 1),
			(double)(p.n * N_VARIANTS) * 1000 / (double)took_ms);
		ck_assert_uint_eq(n_right, p.n);
		ck_assert_uint_eq(n_wrong, p.n * (N_VARIANTS - 1));
		for (size_t i = 0; i < p.n; i++) {
			json_free(p.rows[i]);
		}
	}
END_TEST

/* --- what it costs --- */

#define COST_ROUNDS 40

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void run_plain(const char *script)
{
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execl("/usr/bin/python3", "python3", "-sSB", "-c", script, (char *)NULL);
		_exit(127);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* Beside the same code and test in a process without anything around it. Told only: machines are noisy. */
START_TEST(many_runs_pass_and_tell_what_they_cost)
	{
		static const char code[] = "def f(x):\n    return x + 1\n",
				  test[] = "assert f(1) == 2\n";
		int64_t plain_us[COST_ROUNDS], ours_us[COST_ROUNDS];
		for (size_t i = 0; i < COST_ROUNDS; i++) {
			int64_t start = now_us();
			run_plain("def f(x):\n    return x + 1\nassert f(1) == 2\n");
			plain_us[i] = now_us() - start;
			start = now_us();
			struct code_outcome o = run(code, test, "f");
			ours_us[i] = now_us() - start;
			expect("cost", &o, CODE_PASSED);
		}
		qsort(plain_us, COST_ROUNDS, sizeof(*plain_us), by_size);
		qsort(ours_us, COST_ROUNDS, sizeof(*ours_us), by_size);
		double plain_ms = (double)plain_us[COST_ROUNDS / 2] / 1000;
		double ours_ms = (double)ours_us[COST_ROUNDS / 2] / 1000;
		printf("# a run: %.1f ms, plain subprocess %.1f ms, overhead %.1f ms (medians of "
		       "%d)\n",
			ours_ms, plain_ms, ours_ms - plain_ms, COST_ROUNDS);
	}
END_TEST

/* Does this machine give a sandbox at all? */
static bool have_sandbox(void)
{
	struct error err = {0};
	struct code_checker *c = code_checker_new(&usual, &err);
	if (!c) {
		printf("# no sandbox here, what needs one is skipped: %s\n", err.msg);
	}
	code_checker_free(c);
	return c != NULL;
}

static void add_sandboxed(Suite *suite)
{
	TCase *tc = tcase_create("code");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, plain_code_gets_its_status, 0, (int)ARRAY_LEN(plain));
	tcase_add_loop_test(tc, attack_is_contained, 0, (int)ARRAY_LEN(attacks));
	tcase_add_test(tc, bytes_that_are_no_text_do_not_compile);
	tcase_add_test(tc, details_are_steady);
	tcase_add_test(tc, long_code_is_refused);
	tcase_add_test(tc, assertions_without_entry_point);
	tcase_add_test(tc, another_time_limit_for_one_run);
	tcase_add_test(tc, a_run_dies_with_its_caller);
	tcase_add_test(tc, memory_and_forks_are_bounded_without_cgroups);
	tcase_add_test(tc, files_count_as_memory);
	tcase_add_test(tc, tests_that_end_the_process_say_nothing);
	tcase_add_test(tc, a_run_killed_from_outside_is_no_verdict);
	tcase_add_test(tc, programs_end_as_they_do);
	suite_add_tcase(suite, tc);
	tc = tcase_create("humaneval");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 100);
	tcase_add_test(tc, humaneval_is_told_apart);
	tcase_add_test(tc, many_runs_pass_and_tell_what_they_cost);
	tcase_add_test(tc, an_interpreter_that_is_none);
	suite_add_tcase(suite, tc);
}

static void add_others(Suite *suite)
{
	TCase *tc = tcase_create("layers");
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, without_bubblewrap_it_refuses_or_is_told_to);
	tcase_add_test(tc, a_layer_that_is_forbidden_is_named);
	tcase_add_test(tc, an_interpreter_that_is_not_there);
	tcase_add_test(tc, groups_bound_memory_and_processes);
	tcase_add_loop_test(tc, the_block_that_counts, 0, (int)ARRAY_LEN(answers));
	tcase_add_test(tc, code_goes_on_or_begins_anew);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("sandbox");
	if (have_sandbox()) {
		add_sandboxed(suite);
	}
	add_others(suite);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
