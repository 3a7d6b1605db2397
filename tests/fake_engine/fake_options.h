/*
 * The command line, in two dialects: the fake engine's own, and llama-server's, which it is given when thresh starts it as an
 * engine (under the name `llama-server`, or with --as-llama-server first).
 */
#ifndef TESTS_FAKE_ENGINE_FAKE_OPTIONS_H
#define TESTS_FAKE_ENGINE_FAKE_OPTIONS_H

#include "base/error.h"

#include <stdint.h>

/* Texts are borrowed from argv and the environment. */
struct fake_options {
	bool as_llama_server, openai, die_with_parent, has_slots, has_metrics, reranks;
	uint32_t port, n_slots;
	uint32_t context; /* of one candidate */
	uint32_t n_others; /* requests of other clients */
	double delay_ms_per_token;
	const char *model_name, *model_path, *script, *log, *port_file, *api_key, *owner;
	const char *metrics_of; /* NULL: none, as llama-server without --metrics */
	const char *write_gguf; /* write a model file of the vocabulary and end */
	bool help;
};

/* FAIL_USAGE. */
MUST_CHECK bool fake_options_read(
	struct fake_options *options, int argc, char **argv, struct error *err);
extern const char fake_options_help[];

#endif
