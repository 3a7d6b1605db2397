/* The system calls that a sandboxed program must not make, as a BPF program. */
#ifndef VERIFIERS_SANDBOX_FILTER_H
#define VERIFIERS_SANDBOX_FILTER_H

#include "base/error.h"
#include "base/str.h"

/* Appends the program (an array of struct sock_filter) to `out`. */
MUST_CHECK bool filter_build(struct str *out, struct error *err);

#endif
