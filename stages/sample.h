/* What other stages ask the sample stage's configuration. */
#ifndef STAGES_SAMPLE_H
#define STAGES_SAMPLE_H

#include <stdbool.h>

struct definition;

/* Path of the prompt template; NULL if there is no sample stage. */
const char *sample_template(const struct definition *def);

#endif
