#include "base/energy.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT "/sys/class/powercap"

static bool read_number(const char *path, uint64_t *out)
{
	char text[32] = {0};
	FILE *f = fopen(path, "re");
	if (!f) {
		return false;
	}
	bool ok = fgets(text, sizeof(text), f) != NULL;
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	return ok && text_parse_u64(text, out);
}

/* "intel-rapl:0" is a package; "intel-rapl:0:1" a part of it, and "intel-rapl-mmio:0" the same package once more. */
static bool is_package(const char *name)
{
	static const char prefix[] = "intel-rapl:";
	return strncmp(name, prefix, sizeof(prefix) - 1) == 0 &&
		!strchr(name + sizeof(prefix) - 1, ':');
}

bool energy_open(struct energy_meter *m, const char *root)
{
	*m = (struct energy_meter){0};
	const char *test = getenv("THRESH_TEST_POWERCAP");
	root = root ? root : test ? test : ROOT;
	DIR *dir = opendir(root);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct energy_zone zone = {0};
		if (!is_package(e->d_name)) {
			continue;
		}
		AUTO_FREE char *range = xasprintf("%s/%s/max_energy_range_uj", root, e->d_name);
		zone.path = xasprintf("%s/%s/energy_uj", root, e->d_name);
		if (!read_number(zone.path, &zone.last_uj)) {
			free(zone.path);
			continue;
		}
		if (!read_number(range, &zone.range_uj)) {
			zone.range_uj = 0;
		}
		m->zones = xreallocarray(m->zones, m->n + 1, sizeof(*m->zones));
		m->zones[m->n++] = zone;
	}
	if (dir) {
		closedir(dir);
	}
	return m->n > 0;
}

void energy_close(struct energy_meter *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->zones[i].path);
	}
	free(m->zones);
	*m = (struct energy_meter){0};
}

double energy_read(struct energy_meter *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct energy_zone *z = &m->zones[i];
		uint64_t now;
		if (!read_number(z->path, &now)) {
			continue;
		}
		/* The counter has started again; without its range, what was before that is unknown. */
		uint64_t used = now >= z->last_uj  ? now - z->last_uj
			: z->range_uj > z->last_uj ? z->range_uj - z->last_uj + now
						   : now;
		m->joules += (double)used / 1e6;
		z->last_uj = now;
	}
	return m->joules;
}
