// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"graftd/clients/go/container"
	"graftd/clients/go/graftv1"
)

// lxc is lxc.hook.start-host and lxc.hook.post-stop. LXC says in its environment which container it is; with
// lxc.hook.version 0 it adds NAME, "lxc" and the hook to the command line.
func lxc(ctx context.Context, args []string) error {
	if len(args) == 0 || (args[0] != "start-host" && args[0] != "post-stop") {
		return fmt.Errorf("after lxc stands the hook, start-host or post-stop: %w", errUsage)
	}
	hook := args[0]
	table, transparent, rest, err := lxcOptions(args[1:])
	if err != nil {
		return fmt.Errorf("lxc %s: %w", hook, err)
	}
	if len(rest) > 0 && (len(rest) != 3 || rest[1] != "lxc" || rest[2] != hook) {
		return fmt.Errorf("lxc %s takes options alone, and there is %q: %w", hook, rest[0], errUsage)
	}
	name := os.Getenv("LXC_NAME")
	if name == "" {
		return fmt.Errorf("LXC_NAME is not in the environment: lxc.hook.%s runs this, nobody else", hook)
	}
	// Names are unique in one lxcpath. lxc-start -s needs no file.
	id, origin := container.NamespaceID("lxc", name), cmp.Or(os.Getenv("LXC_CONFIG_FILE"), "a command line")
	if hook == "post-stop" {
		return remove(ctx, id, origin)
	}
	pid, err := strconv.ParseUint(os.Getenv("LXC_PID"), 10, 31)
	if err != nil {
		return errors.New("LXC_PID in the environment is no process id: lxc.hook.start-host runs this, nobody else")
	}
	err = apply(ctx, container.Container{
		ID:          id,
		Selector:    container.Process(uint32(pid)),
		Origin:      origin,
		Labels:      map[string]string{container.LabelSource: "lxc"},
		Annotations: map[string]string{annotationContainer: name},
		Transparent: transparent,
	}, table)
	if err != nil {
		return fmt.Errorf("container %s: %w", name, err)
	}
	return nil
}

func lxcOptions(args []string) (table *container.Table, transparent bool, rest []string, err error) {
	table = &container.Table{}
	flags := flag.NewFlagSet("lxc", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&transparent, "transparent", true, "")
	flags.Func("endpoint", "", func(text string) error {
		name, text, found := strings.Cut(text, "=")
		if !found {
			return errors.New("the '=' is missing: write NAME=ADDRESS:PORT")
		}
		return table.AddEndpoint(name, text)
	})
	flags.Func("ingress", "", func(text string) error {
		return table.AddRules(graftv1.RuleDirection_RULE_DIRECTION_INGRESS, text)
	})
	flags.Func("egress", "", func(text string) error {
		return table.AddRules(graftv1.RuleDirection_RULE_DIRECTION_EGRESS, text)
	})
	if err := flags.Parse(args); err != nil {
		return nil, false, nil, fmt.Errorf("%w: %w", err, errUsage)
	}
	return table, transparent, flags.Args(), table.Complete()
}
