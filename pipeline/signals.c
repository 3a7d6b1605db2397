/*
 * libuv's own signal handles put the default action back when they are closed, and the phases of a night each have a loop of their
 * own: a signal between two of them would kill. A signal handler can only know what is static, hence the globals.
 */
#include "signals.h"

#include <signal.h>

static volatile sig_atomic_t n_signals, last_signal, is_heeded;

static void on_signal(int number)
{
	last_signal = number;
	n_signals = n_signals < 100 ? n_signals + 1 : n_signals;
	if (n_signals > 1 && !is_heeded) {
		signal(number, SIG_DFL);
		raise(number);
	}
}

void signals_watch(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	n_signals = 0;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

unsigned signals_count(void)
{
	return (unsigned)n_signals;
}

const char *signals_last(void)
{
	return last_signal == SIGINT ? "SIGINT" : "SIGTERM";
}

void signals_heed(bool heeded)
{
	is_heeded = heeded;
}
