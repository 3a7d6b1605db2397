/*
 * A list of what is refused and not of what is allowed: interpreters differ from release to release in what they call, and
 * a call that is missing from a list of allowed ones would be counted against the candidate. What is refused are the ways around
 * the namespaces (new namespaces, mounts, handles), into other processes (ptrace and its like), to memory that no limit counts
 * (memfd, System V shared memory, message queues, access lists, asynchronous I/O, pages given to pipes), to the large and young parts of the kernel (bpf, io_uring, perf, userfaultfd, keyrings), and sockets but for local
 * ones: AF_VSOCK is in no namespace of its own.
 */
#include "verifiers/sandbox/filter.h"

#include "base/attr.h"
#include "base/mem.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const refused[] = {"ptrace", "process_vm_readv", "process_vm_writev",
	"process_madvise", "pidfd_getfd", "kcmp", "unshare", "setns", "mount", "umount", "umount2",
	"pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
	"fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "memfd_create",
	"memfd_secret", "shmget", "shmat", "shmctl", "msgget", "msgsnd", "semget", "mq_open", "bpf",
	"perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"add_key", "request_key", "keyctl", "init_module", "finit_module", "delete_module",
	"kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "quotactl", "quotactl_fd",
	"acct", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
	"sethostname", "setdomainname", "vhangup", "fanotify_init", "lookup_dcookie", "nfsservctl",
	"personality", "move_pages", "migrate_pages", "mbind", "iopl", "ioperm", "uselib",
	"modify_ldt", "process_mrelease", "io_setup", "vmsplice", "setxattr", "lsetxattr",
	"fsetxattr", "setxattrat"};

/*
 * Anonymous shared memory stays when all but one page of it is unmapped, and then neither the address space nor what is resident
 * shows it. Huge pages are not in what is resident at all.
 */
static int refuse_hidden_memory(scmp_filter_ctx filter)
{
	static const char *const calls[] = {"mmap", "mmap2"};
	const uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
	int rc = 0;
	for (size_t i = 0; i < ARRAY_LEN(calls) && rc == 0; i++) {
		int nr = seccomp_syscall_resolve_name(calls[i]);
		if (nr == __NR_SCMP_ERROR) {
			continue;
		}
		rc = seccomp_rule_add(filter, refuse, nr, 1,
			SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_TYPE | MAP_ANONYMOUS,
				MAP_SHARED | MAP_ANONYMOUS));
		if (rc == 0) {
			rc = seccomp_rule_add(filter, refuse, nr, 1,
				SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_HUGETLB, MAP_HUGETLB));
		}
	}
	return rc;
}

static int refuse_sockets(scmp_filter_ctx filter)
{
	const uint32_t refuse = SCMP_ACT_ERRNO(EAFNOSUPPORT);
	int rc = seccomp_rule_add(
		filter, refuse, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX));
	return rc ? rc
		  : seccomp_rule_add(
			    filter, refuse, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX));
}

/* Returns the first failure, as libseccomp's calls do: 0 or a negated errno. */
static int add_rules(scmp_filter_ctx filter)
{
	static const uint64_t namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID |
		CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	const uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
	int rc = 0;
	for (size_t i = 0; i < ARRAY_LEN(refused) && rc == 0; i++) {
		int nr = seccomp_syscall_resolve_name(refused[i]);
		/* A name that this architecture or this libseccomp does not know. */
		if (nr != __NR_SCMP_ERROR) {
			rc = seccomp_rule_add(filter, refuse, nr, 0);
		}
	}
	/* clone3 hides its flags in memory; without it libc takes clone. */
	if (rc == 0) {
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	}
	for (unsigned bit = 0; bit < 64 && rc == 0; bit++) {
		uint64_t flag = UINT64_C(1) << bit;
		if (namespaces & flag) {
			rc = seccomp_rule_add(filter, refuse, SCMP_SYS(clone), 1,
				SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
		}
	}
	if (rc == 0) {
		rc = refuse_sockets(filter);
	}
	if (rc == 0) {
		rc = refuse_hidden_memory(filter);
	}
	/* Another process's limits: the checker has the candidate's user, and too low ones would be the tests' fault. */
	if (rc == 0) {
		rc = seccomp_rule_add(
			filter, refuse, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_NE, 0));
	}
	/* Putting input into a terminal; the kernel looks at the low half of the number alone. */
	if (rc == 0) {
		rc = seccomp_rule_add(filter, refuse, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCSTI));
	}
	if (rc == 0) {
		rc = seccomp_rule_add(filter, refuse, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCLINUX));
	}
	return rc;
}

/* libseccomp writes to a descriptor only. */
static bool export(scmp_filter_ctx filter, struct str *out, struct error *err)
{
	AUTO_FD int fd = memfd_create("filter", MFD_CLOEXEC);
	if (fd < 0) {
		return error_errno(err, "could not make a file in memory");
	}
	int rc = seccomp_export_bpf(filter, fd);
	if (rc < 0) {
		errno = -rc;
		return error_errno(err, "could not write the seccomp filter");
	}
	off_t bytes = lseek(fd, 0, SEEK_END);
	char *room = bytes > 0 ? str_reserve(out, (size_t)bytes) : NULL;
	if (!room || pread(fd, room, (size_t)bytes, 0) != bytes) {
		return error_errno(err, "could not read the seccomp filter back");
	}
	out->len += (size_t)bytes;
	out->data[out->len] = '\0';
	return true;
}

bool filter_build(struct str *out, struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter) {
		oom();
	}
	int rc = add_rules(filter);
	bool ok;
	if (rc == 0) {
		ok = export(filter, out, err);
	} else {
		errno = -rc;
		ok = error_errno(err, "could not make the seccomp filter");
	}
	seccomp_release(filter);
	return ok;
}
