// SPDX-License-Identifier: Apache-2.0

// Graft-oci-hook grafts containers by their annotations. Runtimes run it as a hook of theirs (OCI, CDI, LXC).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"time"
)

// The version, which the build sets.
var version = "0"

// Runtimes wait for their hooks: a container that cannot be grafted is refused soon, and one that is gone needs no
// more than an attempt.
var (
	startPatience = 10 * time.Second
	stopPatience  = 3 * time.Second
	// A BPF door that is not loaded yet is waited for: at boot, and while it is restarted.
	doorPatience = 5 * time.Second
)

const usage = `Usage:
  graft-oci-hook createRuntime|poststop|hook     an OCI runtime's hook: the container's state is on stdin, and with
                                                 'hook' its status says which of the two is meant
  graft-oci-hook lxc start-host|post-stop [OPTION]...
  graft-oci-hook cdi [--out FILE]                print the CDI specification, or write it
  graft-oci-hook --help|--version

Options of lxc, each of which may come several times:
  --endpoint NAME=ADDRESS:PORT[/PROTOCOL][,OPTION]...
  --ingress RULES
  --egress RULES
  --transparent=false                            no BPF door: the programs load libgraft.so

Annotations: graft.endpoint.NAME, graft.ingress, graft.egress, graft.transparent. graft-oci-hook(8) has them all.
`

// errUsage is a command line that makes no sense.
var errUsage = errors.New("try 'graft-oci-hook --help'")

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := dispatch(context.Background(), args, stdin, stdout)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "graft-oci-hook: %v\n", err)
	var late *lateError
	switch {
	case errors.Is(err, errUsage):
		return 2
	case errors.As(err, &late):
		tellSystem(syslog.LOG_WARNING, err)
		return 0
	}
	tellSystem(syslog.LOG_ERR, err)
	return 1
}

// tellSystem writes to the system's log as well: crun gives a hook no stderr, so nobody would see the reason.
var tellSystem = func(priority syslog.Priority, err error) {
	log, failed := syslog.New(syslog.LOG_DAEMON|priority, "graft-oci-hook")
	if failed != nil {
		return
	}
	defer log.Close()
	fmt.Fprint(log, err)
}

func dispatch(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "createRuntime", "poststop", "hook":
		if len(args) > 0 {
			return fmt.Errorf("%s takes no more words, and there is %q: %w", verb, args[0], errUsage)
		}
		return ociHook(ctx, verb, stdin)
	case "lxc":
		return lxc(ctx, args)
	case "cdi":
		return cdi(args, stdout)
	case "-h", "--help":
		_, err := io.WriteString(stdout, usage)
		return err
	case "-V", "--version":
		_, err := fmt.Fprintf(stdout, "graft-oci-hook %s\n", version)
		return err
	case "":
		return fmt.Errorf("the hook's name is missing, createRuntime or poststop: %w", errUsage)
	}
	return fmt.Errorf("there is no hook or command %q: %w", verb, errUsage)
}
