/* One table for both dialects: a row says in which of them the word is known, what it sets, and whether a value follows. */
#include "fake_options.h"

#include "fake_api.h"

#include "base/text.h"

#include <stddef.h>
#include <stdlib.h>

const char fake_options_help[] =
	"usage: fake_engine [OPTION ...]           an inference server for tests, on 127.0.0.1\n"
	"       fake_engine --as-llama-server ...  with llama-server's flags\n"
	"\n"
	"  --dialect llama.cpp|openai   what it speaks (llama.cpp)\n"
	"  --slots N                    candidates in flight; more wait (16)\n"
	"  --context N                  tokens of one candidate with its prompt (4096)\n"
	"  --delay-ms-per-token X       time that a token takes (0)\n"
	"  --model NAME                 what it says it is (fake)\n"
	"  --owner NAME                 openai: the program that it says it is (fake)\n"
	"  --reranking                  llama.cpp: answer /v1/rerank\n"
	"  --metrics-of NAME            whose /metrics it has: llama.cpp, vllm, sglang or none\n"
	"                               (llama.cpp; openai: none)\n"
	"  --others N                   requests of other clients: they hold slots, and wait\n"
	"  --api-key KEY                refuse requests without it\n"
	"  --port N                     0, the default: a free one\n"
	"  --port-file FILE             write the port there when it is open\n"
	"  --script FILE                faults; see fake_script.h\n"
	"  --log FILE                   append a JSON line per request\n"
	"  --die-with-parent            end when the process that started it does\n"
	"  --write-gguf FILE            write a model file with this vocabulary, and end\n"
	"\n"
	"As llama-server it takes script and log from FAKE_ENGINE_SCRIPT and FAKE_ENGINE_LOG.\n";

enum kind { KIND_ON, KIND_OFF, KIND_TEXT, KIND_U32, KIND_NUMBER, KIND_IGNORED, KIND_SKIPPED };
enum { OWN = 1, LLAMA = 2, BOTH = 3 };

struct row {
	const char *name;
	unsigned dialects;
	enum kind kind; /* IGNORED: a word alone; SKIPPED: with a value */
	size_t offset;
};

#define AT(f) offsetof(struct fake_options, f)
static const struct row rows[] = {
	{"--slots", OWN, KIND_U32, AT(n_slots)},
	{"--context", OWN, KIND_U32, AT(context)},
	{"--model", OWN, KIND_TEXT, AT(model_name)},
	{"--api-key", BOTH, KIND_TEXT, AT(api_key)},
	{"--port", BOTH, KIND_U32, AT(port)},
	{"--port-file", BOTH, KIND_TEXT, AT(port_file)},
	{"--script", BOTH, KIND_TEXT, AT(script)},
	{"--log", BOTH, KIND_TEXT, AT(log)},
	{"--delay-ms-per-token", BOTH, KIND_NUMBER, AT(delay_ms_per_token)},
	{"--die-with-parent", BOTH, KIND_ON, AT(die_with_parent)},
	{"--write-gguf", OWN, KIND_TEXT, AT(write_gguf)},
	{"--help", BOTH, KIND_ON, AT(help)},
	{"--owner", OWN, KIND_TEXT, AT(owner)},
	{"--reranking", BOTH, KIND_ON, AT(reranks)},
	{"--metrics-of", OWN, KIND_TEXT, AT(metrics_of)},
	{"--others", OWN, KIND_U32, AT(n_others)},
	{"-m", LLAMA, KIND_TEXT, AT(model_path)},
	{"--model", LLAMA, KIND_TEXT, AT(model_path)},
	{"-a", LLAMA, KIND_TEXT, AT(model_name)},
	{"--alias", LLAMA, KIND_TEXT, AT(model_name)},
	{"-np", LLAMA, KIND_U32, AT(n_slots)},
	{"--parallel", LLAMA, KIND_U32, AT(n_slots)},
	{"-c", LLAMA, KIND_U32, AT(context)},
	{"--ctx-size", LLAMA, KIND_U32, AT(context)},
	{"--slots", LLAMA, KIND_ON, AT(has_slots)},
	{"--no-slots", LLAMA, KIND_OFF, AT(has_slots)},
	{"--metrics", LLAMA, KIND_ON, AT(has_metrics)},
	{"--host", LLAMA, KIND_SKIPPED, 0},
	{"-t", LLAMA, KIND_SKIPPED, 0},
	{"--threads", LLAMA, KIND_SKIPPED, 0},
	{"-tb", LLAMA, KIND_SKIPPED, 0},
	{"--threads-batch", LLAMA, KIND_SKIPPED, 0},
	{"-b", LLAMA, KIND_SKIPPED, 0},
	{"--batch-size", LLAMA, KIND_SKIPPED, 0},
	{"-ub", LLAMA, KIND_SKIPPED, 0},
	{"--ubatch-size", LLAMA, KIND_SKIPPED, 0},
	{"-ngl", LLAMA, KIND_SKIPPED, 0},
	{"--gpu-layers", LLAMA, KIND_SKIPPED, 0},
	{"--n-gpu-layers", LLAMA, KIND_SKIPPED, 0},
	{"-fa", LLAMA, KIND_SKIPPED, 0},
	{"--flash-attn", LLAMA, KIND_SKIPPED, 0},
	{"--cache-ram", LLAMA, KIND_SKIPPED, 0},
	{"-lv", LLAMA, KIND_SKIPPED, 0},
	{"--verbosity", LLAMA, KIND_SKIPPED, 0},
	{"--props", LLAMA, KIND_IGNORED, 0},
	{"--jinja", LLAMA, KIND_IGNORED, 0},
	{"--no-jinja", LLAMA, KIND_IGNORED, 0},
	{"--warmup", LLAMA, KIND_IGNORED, 0},
	{"--no-warmup", LLAMA, KIND_IGNORED, 0},
	{"--webui", LLAMA, KIND_IGNORED, 0},
	{"--no-webui", LLAMA, KIND_IGNORED, 0},
};

static const struct row *find_row(const char *name, unsigned dialect)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if ((rows[i].dialects & dialect) && strcmp(rows[i].name, name) == 0) {
			return &rows[i];
		}
	}
	return NULL;
}

static bool takes_value(enum kind kind)
{
	return kind == KIND_TEXT || kind == KIND_U32 || kind == KIND_NUMBER || kind == KIND_SKIPPED;
}

static bool set(
	struct fake_options *options, const struct row *row, const char *value, struct error *err)
{
	char *field = (char *)options + row->offset;
	uint64_t number;

	switch (row->kind) {
	case KIND_ON:
	case KIND_OFF:
		*(bool *)field = row->kind == KIND_ON;
		return true;
	case KIND_TEXT:
		*(const char **)field = value;
		return true;
	case KIND_U32:
		if (!text_parse_u64(value, &number) || number > 1u << 30) {
			return error_set(
				err, FAIL_USAGE, "%s needs a number, not '%s'", row->name, value);
		}
		*(uint32_t *)field = (uint32_t)number;
		return true;
	case KIND_NUMBER:
		if (!text_parse_double(value, (double *)field) || *(double *)field < 0) {
			return error_set(
				err, FAIL_USAGE, "%s needs a number, not '%s'", row->name, value);
		}
		return true;
	case KIND_IGNORED:
	case KIND_SKIPPED:
		return true;
	}
	return true;
}

static bool read_dialect(struct fake_options *options, const char *name, struct error *err)
{
	options->openai = strcmp(name, "openai") == 0;
	if (!options->openai && strcmp(name, "llama.cpp") != 0) {
		return error_set(err, FAIL_USAGE, "unknown dialect '%s'", name);
	}
	return true;
}

static bool read_words(
	struct fake_options *options, int argc, char **argv, int first, struct error *err)
{
	unsigned dialect = options->as_llama_server ? LLAMA : OWN;

	for (int i = first; i < argc; i++) {
		bool is_dialect = strcmp(argv[i], "--dialect") == 0;
		const struct row *row = find_row(argv[i], dialect);
		bool has_value = is_dialect || (row && takes_value(row->kind));

		if (!row && !is_dialect) {
			return error_set(err, FAIL_USAGE, "invalid argument: %s", argv[i]);
		}
		if (has_value && i + 1 == argc) {
			return error_set(err, FAIL_USAGE, "%s needs a value", argv[i]);
		}
		i += has_value;
		if (is_dialect ? !read_dialect(options, argv[i], err)
			       : !set(options, row, argv[i], err)) {
			return false;
		}
	}
	return true;
}

bool fake_options_read(struct fake_options *options, int argc, char **argv, struct error *err)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "";
	bool flag = argc > 1 && strcmp(argv[1], "--as-llama-server") == 0;

	*options = (struct fake_options){
		.n_slots = 16, .context = 4096, .has_slots = true, .owner = "fake"};
	options->as_llama_server = flag || strcmp(name, "llama-server") == 0;
	if (options->as_llama_server) {
		options->port = 8080;
		options->n_slots = 1;
		options->context = 0;
		options->script = getenv("FAKE_ENGINE_SCRIPT");
		options->log = getenv("FAKE_ENGINE_LOG");
	}
	if (!read_words(options, argc, argv, flag ? 2 : 1, err)) {
		return false;
	}
	if (!options->as_llama_server && !options->metrics_of) {
		options->metrics_of = options->openai ? "none" : "llama.cpp";
	}
	if (options->has_metrics && !options->metrics_of) {
		options->metrics_of = "llama.cpp";
	}
	if (options->metrics_of && !api_knows_metrics(options->metrics_of)) {
		return error_set(err, FAIL_USAGE, "unknown metrics '%s'", options->metrics_of);
	}
	if (options->n_slots == 0 || options->n_slots > 4096 || options->port > 65535) {
		return error_set(
			err, FAIL_USAGE, "the number of slots or the port is out of range");
	}
	if (options->as_llama_server && !options->model_path && !options->help) {
		return error_set(err, FAIL_USAGE, "--model is required");
	}
	if (options->as_llama_server) {
		/* There the context is shared by the slots. */
		options->context = options->context ? options->context / options->n_slots : 4096;
	}
	if (!options->model_name) {
		options->model_name = options->model_path ? options->model_path : "fake";
	}
	if (!options->model_path) {
		options->model_path = "fake.gguf";
	}
	return true;
}
