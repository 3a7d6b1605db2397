/*
 * A llama-server of our own: started, watched, restarted a bounded number of times, stopped, and never left behind, since the
 * kernel kills it when we die. Events come on the loop, never from inside a call.
 *
 *	server_new -> server_start -> up (down up ...) or failed; server_stop -> closed
 */
#ifndef PIPELINE_ENGINE_SERVER_H
#define PIPELINE_ENGINE_SERVER_H

#include "base/error.h"
#include "engine/engine.h"

struct http_client;
struct server;

struct server_events {
	void (*up)(void *ctx); /* it is healthy; also after every restart */
	void (*down)(void *ctx); /* it ended by itself and is being restarted */
	void (*failed)(void *ctx, const struct error *err); /* for good */
	void *ctx;
};

/* Borrows everything but the strings of `name` and `log_dir`. `http` asks for its health. */
struct server *server_new(struct loop *loop, struct http_client *http,
	const struct engine_serve_config *config, const char *name, const char *log_dir,
	struct server_events events);
void server_start(struct server *server);
/* Its address; valid after `up`, and another one after a restart that found its port taken. */
const char *server_url(const struct server *server);
uint32_t server_restarts(const struct server *server);
/* It hangs: the process is killed, and then started again like one that died. */
void server_kill(struct server *server);
/* Ends the process if there is one, frees the server, then calls closed. No event comes any more. */
void server_stop(struct server *server, void (*closed)(void *ctx), void *ctx);

/*
 * The hidden command `__spawn PARENT_PID COMMAND ARGS...` that the process goes through, for what libuv cannot do between
 * fork and exec; argv[0] is "__spawn". Does not return unless the command cannot be run (127) or the parent is gone (1).
 */
int server_spawn_main(int argc, char **argv);

#endif
