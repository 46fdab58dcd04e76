// SPDX-License-Identifier: Apache-2.0
/* graft: runs a command with libgraft.so in it. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "command.h"
#include "redirect.h"
#include "rules.h"

#define LIBRARY "libgraft.so"

/* As env(1) has them; a usage error is 2. */
enum { EXIT_USAGE = 2, EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

static const char usage[] =
	"Usage: graft [-v] [-i ADDR:PORT[-PORT]=ENDPOINT]... [-e PREFIX/LEN=ENDPOINT]... -- COMMAND [ARG]...\n"
	"Run COMMAND with its TCP and UDP sockets grafted where a rule says so.\n"
	"\n"
	"  -i ADDR:PORT[-PORT]=ENDPOINT       sockets bound to ADDR and PORT use ENDPOINT\n"
	"  -e PREFIX/LEN[:PORT[-PORT]]=ENDPOINT\n"
	"                                     sockets that connect or send to PREFIX/LEN use ENDPOINT\n"
	"  -v, --verbose                      say on standard error what is in force\n"
	"  -h, --help                         print this and exit\n"
	"  -V, --version                      print the version and exit\n"
	"\n"
	"With -i or -e these rules replace those of the network namespace for COMMAND and what it starts;\n"
	"without, the namespace's rules apply. Where no rule matches, a socket stays native.\n"
	"ADDR and PREFIX/LEN are IPv4 or IPv6, or * for every address; an IPv6 address with a port stands in\n"
	"brackets: [::]:80. Port 0 of -i is a bind that asks for any port. ',tcp' or ',udp' before '='\n"
	"limits a rule to that protocol. For ENDPOINT, 'native' keeps sockets native and 'deny' refuses them;\n"
	"an endpoint that is itself called so is written with one more '=': -i '*:80==native'.\n";

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("graft: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* What the command line asks for. */
struct request {
	bool verbose;
	struct graft_rules rules;
	char *text; /* the same rules, as GRAFT_RULES carries them */
};

/* Whether a rule of the same addresses, ports and protocols came before the last; the first would win. */
static bool is_repeated(const struct graft_rules *rules, const struct graft_rule *last)
{
	struct graft_rule one, other = *last;

	other.verdict = 0;
	memset(other.endpoint, 0, sizeof(other.endpoint));
	for (size_t i = 0; i < rules->count; i++) {
		one = rules->rule[i];
		one.verdict = 0;
		memset(one.endpoint, 0, sizeof(one.endpoint));
		if (memcmp(&one, &other, sizeof(one)) == 0)
			return true;
	}
	return false;
}

static bool add_rule(struct request *request, char option, const char *written)
{
	struct graft_rules *rules = &request->rules;
	const char *error = NULL;
	char *text;

	if (rules->count == GRAFT_SO_RULES_MAX)
		error = "there are more than 64 rules: put them into the namespace's own";
	else
		error = graft_rule_parse(&rules->rule[rules->count], option == 'i' ? GRAFT_INGRESS : GRAFT_EGRESS,
					 written, strlen(written));
	if (!error && is_repeated(rules, &rules->rule[rules->count]))
		error = "a rule before it is for the same addresses and ports: leave one of them out";
	if (error) {
		say("-%c %s: %s", option, written, error);
		return false;
	}
	if (asprintf(&text, "%s-%c %s\n", request->text ? request->text : "", option, written) < 0) {
		say("no memory");
		return false;
	}
	free(request->text);
	request->text = text;
	rules->count++;
	return true;
}

static int usage_error(void)
{
	fputs("Try 'graft --help'.\n", stderr);
	return EXIT_USAGE;
}

/* Returns -1 to go on, or the exit status; optind then is the command's. */
static int read_options(struct request *request, int argc, char **argv)
{
	static const struct option options[] = { { "verbose", no_argument, NULL, 'v' },
						 { "help", no_argument, NULL, 'h' },
						 { "version", no_argument, NULL, 'V' },
						 { NULL, 0, NULL, 0 } };
	int option;

	while ((option = getopt_long(argc, argv, "+:i:e:vhV", options, NULL)) != -1) {
		switch (option) {
		case 'i':
		case 'e':
			if (!add_rule(request, (char)option, optarg))
				return usage_error();
			break;
		case 'v':
			request->verbose = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("graft " GRAFT_VERSION);
			return EXIT_SUCCESS;
		case ':':
			say("-%c needs a rule: write -%c %s=ENDPOINT", optopt, optopt,
			    optopt == 'i' ? "ADDR:PORT[-PORT]" : "PREFIX/LEN");
			return usage_error();
		default:
			if (optopt && strncmp(argv[optind - 1], "--", 2) == 0 && strchr(argv[optind - 1], '='))
				say("%s: this option takes no value: leave out what begins with '='", argv[optind - 1]);
			else if (optopt)
				say("there is no option -%c: the options are -i, -e, -v, -h and -V", optopt);
			else
				say("there is no option %s: the options are -i, -e, -v, -h and -V", argv[optind - 1]);
			return usage_error();
		}
	}
	if (optind == argc) {
		say("the command is missing: write it after '--'");
		return usage_error();
	}
	return -1;
}

/* The library beside the runner, else where 'make install' puts it. */
static bool find_library(char *path, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", path, size - sizeof(LIBRARY));
	char *slash;

	if (len > 0) {
		path[len] = '\0';
		slash = strrchr(path, '/');
		if (slash) {
			strcpy(slash + 1, LIBRARY);
			if (access(path, R_OK) == 0)
				return true;
		}
	}
	snprintf(path, size, "%s", GRAFT_LIBDIR "/" LIBRARY);
	if (access(path, R_OK) == 0)
		return true;
	say("%s: %s: install it there or beside graft", path, strerror(errno));
	return false;
}

/* The library comes first; what was preloaded before stays. */
static bool set_environment(const struct request *request, const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	size_t len = strlen(library);
	char *preload;

	/* The loader splits at ' ' and ':' and expands '$'. */
	if (strpbrk(library, " :$")) {
		say("%s: the loader takes no path with a space, ':' or '$': install graft elsewhere", library);
		return false;
	}
	if (!before || !*before)
		preload = strdup(library);
	else if (strncmp(before, library, len) == 0 && strchr(": ", before[len]))
		preload = strdup(before); /* graft within graft */
	else if (asprintf(&preload, "%s:%s", library, before) < 0)
		preload = NULL;
	if (!preload || setenv("LD_PRELOAD", preload, 1) != 0 ||
	    (request->text ? setenv(GRAFT_RULES_ENV, request->text, 1) : unsetenv(GRAFT_RULES_ENV)) != 0) {
		say("no memory");
		return false;
	}
	free(preload);
	return true;
}

/* Lets the kernel judge the rules once, here, rather than at each socket of the command. */
static bool try_kernel(const struct request *request)
{
	const struct graft_rules *rules = &request->rules;
	bool ok = true;
	int fd;

	if (!rules->count && !request->verbose)
		return true;
	fd = socket(AF_INET, SOCK_STREAM, IPPROTO_GRAFT);
	if (fd < 0 && errno == EPROTONOSUPPORT && rules->count) {
		/* The command would run natively, past rules that may say deny. */
		say("graft.ko is not loaded, so these rules would not hold: run modprobe graft, or leave -i and -e out");
		return false;
	}
	if (fd < 0) {
		if (request->verbose)
			say("the kernel answers IPPROTO_GRAFT with \"%s\": %s", strerror(errno),
			    errno == EPROTONOSUPPORT ? "graft.ko is not loaded, so every socket stays native"
						     : "sockets fail so in the command, too");
		return true;
	}
	if (rules->count &&
	    setsockopt(fd, IPPROTO_GRAFT, GRAFT_SO_RULES, rules->rule, rules->count * sizeof(rules->rule[0])) != 0) {
		say("the kernel refuses these rules: %s", strerror(errno));
		ok = false;
	} else if (request->verbose) {
		say("the kernel serves IPPROTO_GRAFT");
	}
	close(fd);
	return ok;
}

__attribute__((noinline)) static int one(void)
{
	return 1;
}

__attribute__((noinline)) static int two(void)
{
	return 2;
}

/* Whether the library can reach the C library's resolver here, tried on a function of ours. */
static bool redirect_works(void)
{
	int (*volatile first)(void) = one;

	return graft_redirect((void *)first, (const void *)two) && first() == 2;
}

static void explain(const struct request *request, const char *library, char **command)
{
	const char *note = graft_command_note(command[0]), *line = request->text;

	say("the library is %s", library);
	say("LD_PRELOAD is %s", getenv("LD_PRELOAD"));
	if (!line)
		say("no -i and no -e: the rules of the network namespace apply");
	for (; line && *line; line += strcspn(line, "\n") + 1)
		say("rule %.*s", (int)strcspn(line, "\n"), line);
	if (!redirect_works())
		say("the C library's own sockets, those of name resolution, stay native: this "
		    "processor or sandbox does not let the library reach them");
	if (note)
		say("%s %s: its sockets stay native", command[0], note);
}

int main(int argc, char **argv)
{
	struct request request = { 0 };
	char library[PATH_MAX];
	int status;

	status = read_options(&request, argc, argv);
	if (status >= 0)
		return status;
	if (!find_library(library, sizeof(library)) || !set_environment(&request, library))
		return EXIT_OWN;
	if (request.verbose)
		explain(&request, library, argv + optind);
	if (!try_kernel(&request))
		return EXIT_OWN;

	execvp(argv[optind], argv + optind);
	status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
	say("%s: %s", argv[optind], strerror(errno));
	return status;
}
