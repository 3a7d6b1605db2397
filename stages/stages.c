#include "stages.h"

const struct stage_ops *const all_stages[] = {
	&sample_stage,
	&generate_stage,
	&verify_stage,
	&select_stage,
	&dedup_stage,
	&pack_stage,
	NULL,
};
