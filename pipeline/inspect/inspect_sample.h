/* What other modes show of a sequence in the manner of --sample. */
#ifndef PIPELINE_INSPECT_INSPECT_SAMPLE_H
#define PIPELINE_INSPECT_INSPECT_SAMPLE_H

#include "inspect/decode.h"
#include "inspect/walk.h"

/* FORMAT.md: a sample id is its prompt's number times this, plus the candidate's index. */
#define PROMPT_CANDIDATES 4096
#define CANDIDATE_CHARS 48

/* "12.3" into `out`, which is returned; NULL: the row does not tell sample ids. */
const char *sample_candidate(const struct sequences *s, size_t k, char out[CANDIDATE_CHARS]);
/* Sequence k of the current row: a heading, then its text, or a line a token. */
void sample_print_sequence(struct walk *w, size_t k, const struct decoder *decoder, bool tokens);

#endif
