#include "pack_private.h"

#include "base/hash.h"
#include "base/mem.h"
#include "definition.h"
#include "ledger/ledger.h"
#include "run.h"
#include "stage.h"

#include <stdlib.h>

static void put_fingerprint(void *ctx, const char *path, const char *value)
{
	struct json_writer *w = ctx;
	json_member_z(w, path, value);
}

/* What the parameters of a stage, or the traits of an engine, were when the run used it. */
static void put_fingerprints(struct pack_state *s, const char *stage, struct json_writer *w)
{
	json_begin_object(w);
	ledger_each_fingerprint(s->run->ledger, stage, put_fingerprint, w);
	json_end_object(w);
}

/* SHA-256 of all that decides the result but for the engine: equal hashes, equal definitions, whatever the file looks like. */
static void hash_definition(struct pack_state *s, char out[SHA256_HEX_BYTES])
{
	const struct definition *def = s->run->def;
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_member_z(&w, "accept", def->accept);
	json_member_uint(&w, "seed", def->seed);
	for (size_t i = 0; i < def->n_stages; i++) {
		json_key(&w, def->stages[i].ops->name);
		put_fingerprints(s, def->stages[i].ops->name, &w);
	}
	json_end_object(&w);
	sha256_hex(text.data, text.len, out);
	str_release(&text);
}

double pack_fill(const struct pack_state *s)
{
	double room = (double)s->n_rows * s->config->context;
	return room > 0 ? (double)s->n_tokens / room : 0;
}

void pack_put_facts(struct pack_state *s, struct json_writer *w)
{
	struct arena arena = {0};
	const struct definition *def = s->run->def;
	struct ledger *l = s->run->ledger;
	const char *n_vocab = ledger_meta(l, "n_vocab", &arena);
	char definition[SHA256_HEX_BYTES];
	hash_definition(s, definition);
	json_begin_object(w);
	const struct {
		const char *key, *value;
	} texts[] = {{"run", s->run->id}, {"made_from", ledger_meta(l, "made_from", &arena)},
		{"pipeline", def->name}, {"definition", definition}, {"thresh", THRESH_VERSION},
		{"layout", pack_layout_names[s->config->layout]}, {"model", s->model},
		{"tokenizer", ledger_meta(l, "tokenizer", &arena)},
		{"chat_template", s->chat_template}, {"score", s->score}, {"accept", def->accept}};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		json_member_z(w, texts[i].key, texts[i].value);
	}
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {{"context", s->config->context},
		{"n_vocab", n_vocab ? strtoull(n_vocab, NULL, 10) : 0}, {"seed", def->seed},
		{"run_number", (uint64_t)s->run->number}, {"rows", s->n_rows},
		{"sequences", s->n_sequences}, {"tokens", s->n_tokens},
		{"loss_tokens", s->n_loss_tokens}};
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		json_member_uint(w, numbers[i].key, numbers[i].value);
	}
	if (s->config->layout == PACK_PACKED) {
		json_member_num(w, "fill", pack_fill(s));
	}
	json_end_object(w);
	arena_release(&arena);
}

static void put_shards(const struct pack_folder *f, struct str *out)
{
	str_append_z(out, "shards:\n");
	for (size_t i = 0; i < f->n_infos; i++) {
		const struct mds_shard_info *info = &f->infos[i];
		char name[MDS_NAME_BYTES], raw[17];
		mds_shard_name(info->no, true, name);
		hash64_hex(info->raw_xxh64, raw);
		str_printf(out,
			"  - {file: %s, rows: %u, raw_bytes: %llu, raw_xxh64: \"%s\", zip_bytes: "
			"%llu, zip_sha256: \"%s\"}\n",
			name, info->n_samples, (unsigned long long)info->raw_bytes, raw,
			(unsigned long long)info->zip_bytes, info->zip_sha256);
	}
}

void pack_put_manifest(struct pack_state *s, const struct pack_folder *f, struct str *out)
{
	const struct definition *def = s->run->def;
	str_append_z(out, "# What these shards are made of. JSON values, which are YAML too.\n");
	struct json_writer facts = {.out = out};
	str_append_z(out, "data: ");
	pack_put_facts(s, &facts);
	str_append_z(out, "\ndefinition:\n");
	for (size_t i = 0; i < def->n_stages; i++) {
		struct json_writer w = {.out = out};
		str_printf(out, "  %s: ", def->stages[i].ops->name);
		put_fingerprints(s, def->stages[i].ops->name, &w);
		str_append_c(out, '\n');
	}
	str_append_z(out, "engines:\n");
	for (size_t i = 0; i < def->n_engines; i++) {
		struct json_writer w = {.out = out};
		AUTO_FREE char *stage = xasprintf("engine:%s", def->engines[i].config.name);
		str_printf(out, "  %s: ", def->engines[i].config.name);
		put_fingerprints(s, stage, &w);
		str_append_c(out, '\n');
	}
	put_shards(f, out);
}
