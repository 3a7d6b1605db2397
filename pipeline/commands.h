/* One function a command, one file a function: cmd_NAME.c. argv[0] is the command's name; the result is the exit code. */
#ifndef PIPELINE_COMMANDS_H
#define PIPELINE_COMMANDS_H

struct command {
	const char *name, *args, *summary;
	int (*run)(int argc, char **argv);
};

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_prune(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_stages(int argc, char **argv);
int cmd_verifiers(int argc, char **argv);
int cmd_engines(int argc, char **argv);
int cmd_schema(int argc, char **argv);
int cmd_math(int argc, char **argv);
int cmd_calibrate(int argc, char **argv);
int cmd_history(int argc, char **argv);
int cmd_fsck(int argc, char **argv);

#endif
