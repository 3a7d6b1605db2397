#include "inspect/decode.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli.h"
#include "shard/vocab.h"

#include <stdlib.h>
#include <string.h>

struct decoder {
	const char *dir;
	const struct mds_reader *reader;
	char *part; /* owns; sub-folder that `vocab` is of; NULL: none was read yet */
	struct vocab *vocab; /* owns; NULL: that sub-folder has none */
};

struct decoder *decoder_new(const char *dir, const struct mds_reader *r)
{
	struct decoder *d = xcalloc(1, sizeof(*d));
	d->dir = dir;
	d->reader = r;
	return d;
}

void decoder_free(struct decoder *d)
{
	if (d) {
		vocab_free(d->vocab);
		free(d->part);
		free(d);
	}
}

static void read_vocab(struct decoder *d)
{
	AUTO_FREE char *path = file_join(d->dir, d->part);
	struct error err = {0};
	d->vocab = vocab_read(path, &err);
	if (!d->vocab && err.kind == FAIL_DATA) {
		cli_fail(&err);
	}
}

bool decoder_use(struct decoder *d, size_t shard)
{
	AUTO_FREE char *part = mds_reader_part(d->reader, shard);
	if (!d->part || strcmp(d->part, part) != 0) {
		free(d->part);
		vocab_free(d->vocab);
		d->part = xstrdup(part);
		read_vocab(d);
	}
	return d->vocab != NULL;
}

bool decoder_put(const struct decoder *d, uint32_t id, struct str *out)
{
	struct slice piece;
	bool special;
	if (!d->vocab || !vocab_piece(d->vocab, id, &piece, &special)) {
		str_printf(out, "<%u>", id);
		return false;
	}
	str_append(out, piece.data, piece.len);
	return special;
}
