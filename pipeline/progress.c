#include "progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOG_EVERY_MS 60000 /* a line of progress where nobody watches */
#define BAR_COLUMNS 20

static void wipe(void *ctx)
{
	struct progress *p = ctx;
	if (p->line[0]) {
		fputs("\r\033[K", stderr);
	}
}

static void draw(void *ctx)
{
	struct progress *p = ctx;
	if (p->line[0]) {
		fputs(p->line, stderr);
		fflush(stderr);
	}
}

void progress_init(struct progress *p)
{
	*p = (struct progress){.fancy = cli_is_fancy(STDERR_FILENO), .logged_ms = clock_mono_ms()};
	if (p->fancy) {
		log_set_hooks((struct log_hooks){wipe, draw, p});
	}
}

void progress_release(struct progress *p)
{
	log_set_hooks((struct log_hooks){0});
	wipe(p);
	p->line[0] = '\0';
}

static void show(struct progress *p)
{
	/* Cut to the terminal's width: a wrapped line cannot be wiped. */
	struct winsize size;
	size_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col
		? size.ws_col - 1u
		: 79;
	while (utf8_columns(p->line, strlen(p->line)) > width) {
		size_t len = strlen(p->line);
		do {
			len--;
		} while (len && ((unsigned char)p->line[len] & 0xc0) == 0x80);
		p->line[len] = '\0';
	}
	fputs("\r\033[K", stderr);
	draw(p);
}

void progress_stage(void *ctx, const char *name)
{
	struct progress *p = ctx;
	snprintf(p->stage, sizeof(p->stage), "%s", name);
	if (p->fancy) {
		snprintf(p->line, sizeof(p->line), "%s ...", name);
		show(p);
	}
}

static void bar(double share, char out[BAR_COLUMNS * 3 + 1])
{
	size_t full = (size_t)(share * BAR_COLUMNS + 0.5), at = 0;
	for (size_t i = 0; i < BAR_COLUMNS; i++) {
		memcpy(out + at, i < full ? "\xe2\x96\x88" : "\xe2\x96\x91", 3); /* █ ░ */
		at += 3;
	}
	out[at] = '\0';
}

void progress_tick(void *ctx, const struct flow_stats *s)
{
	struct progress *p = ctx;
	int64_t done = s->n_prompts - s->n_prompts_left;
	double share = s->n_prompts ? (double)done / (double)s->n_prompts : 0;
	double rate = s->tokens_per_s;
	char eta[24] = "?";
	if (s->eta_ms >= 0) {
		clock_duration(s->eta_ms, eta);
	}
	const char *mood = s->stopping ? "stopping"
		: s->draining          ? "draining"
		: s->paused            ? "paused"
				       : NULL;
	if (p->fancy) {
		char blocks[BAR_COLUMNS * 3 + 1];
		bar(share, blocks);
		snprintf(p->line, sizeof(p->line),
			"%s %s %lld/%lld prompts, %lld candidates, %lld accepted, %.0f tok/s, %u "
			"in flight, %s %s",
			p->stage, blocks, (long long)done, (long long)s->n_prompts,
			(long long)s->n_candidates, (long long)s->n_accepted, rate, s->in_flight,
			mood ? mood : "ETA", mood ? "" : eta);
		show(p);
	} else if (clock_mono_ms() - p->logged_ms >= LOG_EVERY_MS) {
		p->logged_ms = clock_mono_ms();
		log_info("progress", "prompts",
			log_fmt("%lld/%lld", (long long)done, (long long)s->n_prompts),
			"candidates", log_fmt("%lld", (long long)s->n_candidates), "accepted",
			log_fmt("%lld", (long long)s->n_accepted), "tokens_per_s",
			log_fmt("%.0f", rate), "eta", eta, NULL);
	}
}
