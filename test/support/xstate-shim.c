/*
 * UML kernels before 6.13 keep a guest's floating point state in a buffer of fixed size and hand that to
 * PTRACE_SETREGSET(NT_X86_XSTATE). A host whose CPU has a larger state (AMX) refuses a partial one with EFAULT, and
 * the guest dies with "ptrace set fp regs failed, errno = 14". Preloaded, this fetches the whole state, lays the
 * guest's part over its beginning and sets the whole.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { XSTATE_REGSET = 0x202, LARGEST_XSTATE = 64 * 1024 };

typedef long ptrace_call(int request, pid_t pid, void *addr, void *data);

static long set_whole_xstate(ptrace_call *next, pid_t pid, void *addr, const struct iovec *part)
{
	static char whole[LARGEST_XSTATE] __attribute__((aligned(64)));
	struct iovec all = { .iov_base = whole, .iov_len = sizeof(whole) };

	if (next(PTRACE_GETREGSET, pid, addr, &all) != 0)
		return -1;
	if (part->iov_len >= all.iov_len) {
		/* It was not for being partial that it was refused. */
		errno = EFAULT;
		return -1;
	}
	memcpy(whole, part->iov_base, part->iov_len);
	return next(PTRACE_SETREGSET, pid, addr, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_call *next;
	va_list args;
	va_start(args, request);
	pid_t pid = va_arg(args, pid_t);
	void *addr = va_arg(args, void *);
	void *data = va_arg(args, void *);
	va_end(args);

	if (next == NULL)
		next = (ptrace_call *)dlsym(RTLD_NEXT, "ptrace");
	long result = next(request, pid, addr, data);
	int refused_as_partial = result != 0 && errno == EFAULT && request == PTRACE_SETREGSET
		&& (long)addr == XSTATE_REGSET;
	return refused_as_partial ? set_whole_xstate(next, pid, addr, data) : result;
}
