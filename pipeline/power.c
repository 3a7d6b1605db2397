#include "power.h"

#include "base/clock.h"
#include "base/energy.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "engine/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GPUS_MAX 64

struct gpu {
	double watts;
	int64_t since_ms; /* 0: has not told yet */
};

struct power {
	struct energy_meter meter;
	bool has_meter;
	struct child *smi; /* NULL: there is none, or it has ended */
	bool smi_told; /* at least one figure */
	struct gpu gpus[GPUS_MAX];
	double gpu_joules, watts, stated_joules;
	int64_t stated_since_ms;
};

static bool has_smi(void)
{
	const char *path = getenv("PATH");
	while (path && *path) {
		size_t len = strcspn(path, ":");
		AUTO_FREE char *file = xasprintf("%.*s/nvidia-smi", (int)len, path);
		if (len && access(file, X_OK) == 0) {
			return true;
		}
		path += len + (path[len] == ':');
	}
	return false;
}

bool power_is_measured(void)
{
	struct energy_meter m;
	bool measured = energy_open(&m, NULL);
	energy_close(&m);
	return measured || has_smi();
}

static void on_line(void *ctx, const char *line, size_t len)
{
	struct power *p = ctx;
	unsigned index;
	double watts;
	/* "0, 123.45"; a GPU that does not tell says "[N/A]". */
	if (!line || len > 64 || sscanf(line, "%u, %lf", &index, &watts) != 2 ||
		index >= GPUS_MAX || !(watts >= 0)) {
		return;
	}
	struct gpu *gpu = &p->gpus[index];
	int64_t now = clock_mono_ms();
	if (gpu->since_ms) {
		p->gpu_joules += (gpu->watts + watts) / 2 * (double)(now - gpu->since_ms) / 1000;
	}
	*gpu = (struct gpu){watts, now};
	p->smi_told = true;
}

static void on_noise(void *ctx UNUSED, const char *bytes UNUSED, size_t len UNUSED)
{
}

static void on_ended(void *ctx, int64_t status, int sig UNUSED)
{
	struct power *p = ctx;
	p->smi = NULL;
	log_warn("nvidia-smi has ended, the GPUs are not measured any more", "status",
		log_fmt("%lld", (long long)status), NULL);
}

struct power *power_new(struct loop *loop, double watts)
{
	struct power *p = xcalloc(1, sizeof(*p));
	struct error err = {0};
	char *args[] = {"nvidia-smi", "--query-gpu=index,power.draw",
		"--format=csv,noheader,nounits", "--loop=2", NULL};
	p->watts = watts;
	p->stated_since_ms = clock_mono_ms();
	p->has_meter = energy_open(&p->meter, NULL);
	if (has_smi()) {
		p->smi = child_start(loop, args, 4096,
			(struct child_events){on_line, on_noise, on_ended, p}, &err);
		if (!p->smi) {
			log_warn("nvidia-smi cannot be started, the GPUs are not measured",
				"reason", err.msg, NULL);
		}
	}
	return p;
}

static bool is_stated(const struct power *p)
{
	return !p->has_meter && !p->smi_told;
}

double power_joules(struct power *p)
{
	int64_t now = clock_mono_ms();
	if (is_stated(p)) {
		p->stated_joules += p->watts * (double)(now - p->stated_since_ms) / 1000;
	}
	p->stated_since_ms = now;
	return p->stated_joules + p->gpu_joules + (p->has_meter ? energy_read(&p->meter) : 0);
}

const char *power_source(const struct power *p)
{
	return is_stated(p)    ? "watts"
		: !p->smi_told ? "rapl"
		: p->has_meter ? "rapl, nvidia-smi"
			       : "nvidia-smi";
}

void power_free(struct power *p)
{
	if (!p) {
		return;
	}
	if (p->smi) {
		child_stop(p->smi);
	}
	energy_close(&p->meter);
	free(p);
}
