// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"graftd/clients/go/client"
	"graftd/clients/go/container"
	"graftd/clients/go/graftv1"
)

const (
	source         = "cni"
	labelNetwork   = "graft.network"
	labelInterface = "graft.interface"

	// A container that ends waits no longer: what is transient goes by itself.
	delTimeout = 3 * time.Second
	gcTimeout  = 60 * time.Second
)

// add gives a container its table. Alone it also brings lo up, behind others it passes their result on.
func add(args *skel.CmdArgs) error {
	conf, table, err := loadAll(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	result := conf.PrevResult
	if result != nil && len(conf.PodAddresses) > 0 {
		return types.NewError(types.ErrInvalidNetworkConfig, "podAddresses are for pods without an interface, and the plugins "+
			"before graft-cni made one: leave them out", "")
	}
	if result == nil {
		if err := container.RaiseLoopback(args.Netns); err != nil {
			return types.NewError(types.ErrInvalidNetNS, err.Error(), "")
		}
		if result, err = loopback(conf, args.Netns); err != nil {
			return err
		}
	}
	err = withGraftd(conf, conf.timeout(), func(ctx context.Context, graftd *client.Client) error {
		return container.Apply(ctx, graftd, attachment(conf, args), table)
	})
	if err != nil {
		return told(explain(err))
	}
	return types.PrintResult(result, conf.CNIVersion)
}

// loopback is the result of a container without another plugin: no interface but lo, and no address but podAddresses,
// which are of no interface.
func loopback(conf *config, netns string) (types.Result, error) {
	addresses, err := conf.addresses()
	if err != nil {
		return nil, err
	}
	result := &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{{Name: "lo", Mac: "00:00:00:00:00:00", Sandbox: netns}},
		DNS:        conf.DNS,
	}
	for _, address := range addresses {
		result.IPs = append(result.IPs, &current.IPConfig{Address: address})
	}
	return result, nil
}

// check fails where the container has not what add gave it.
func check(args *skel.CmdArgs) error {
	conf, table, err := loadAll(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	if conf.PrevResult == nil {
		return types.NewError(types.ErrInvalidNetworkConfig,
			"prevResult is missing: CHECK needs the result of the ADD before it", "")
	}
	result, err := current.NewResultFromResult(conf.PrevResult)
	if err != nil {
		return types.NewError(types.ErrDecodingFailure, "prevResult cannot be read: "+err.Error(), "")
	}
	for _, one := range result.Interfaces {
		if one.Name == "lo" && one.Sandbox == args.Netns {
			if err := container.CheckLoopback(args.Netns); err != nil {
				return types.NewError(refused, err.Error(), "")
			}
		}
	}
	return told(withGraftd(conf, conf.timeout(), func(ctx context.Context, graftd *client.Client) error {
		return container.Check(ctx, graftd, attachment(conf, args), table)
	}))
}

// del takes a container's table away. It succeeds where there is none, and where graftd is away or cannot do it as things
// stand: the table is transient, and a container whose DEL fails cannot end.
func del(args *skel.CmdArgs) error {
	conf, err := load(args.StdinData)
	if err != nil {
		return err
	}
	err = withGraftd(conf, delTimeout, func(ctx context.Context, graftd *client.Client) error {
		return container.Remove(ctx, graftd, id(conf, args.ContainerID, args.IfName), "")
	})
	if unreachable(err) || obstructed(err) {
		fmt.Fprintf(os.Stderr, "graft-cni: %v; the table of container %s goes by itself with its network namespace\n",
			err, args.ContainerID)
		return nil
	}
	return told(err)
}

// gc takes away what no valid attachment of the network has.
func gc(args *skel.CmdArgs) error {
	conf, err := load(args.StdinData)
	if err != nil {
		return err
	}
	valid := map[string]bool{}
	for _, one := range conf.ValidAttachments {
		valid[id(conf, one.ContainerID, one.IfName)] = true
	}
	return told(withGraftd(conf, gcTimeout, func(ctx context.Context, graftd *client.Client) error {
		labels := map[string]string{container.LabelSource: source, labelNetwork: container.LabelValue(conf.Name)}
		found, err := container.List(ctx, graftd, labels)
		if err != nil {
			return err
		}
		var failed []error
		for _, one := range found {
			if !valid[one] {
				failed = append(failed, container.Remove(ctx, graftd, one, ""))
			}
		}
		return errors.Join(failed...)
	}))
}

// status fails where an ADD would.
func status(args *skel.CmdArgs) error {
	conf, _, err := loadAll(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	var found *graftv1.NodeStatus
	err = withGraftd(conf, conf.timeout(), func(ctx context.Context, graftd *client.Client) error {
		found, err = graftd.Node.GetStatus(ctx, &graftv1.GetStatusRequest{})
		return err
	})
	if err != nil {
		// What is grafted goes on without graftd.
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	if found.Frozen {
		return types.NewError(types.ErrLimitedConnectivity,
			"graftd is frozen, so that no socket is grafted: graftcli unfreeze", found.FreezeReason)
	}
	if err := degraded(found); err != nil {
		return err
	}
	if door := found.Transparent; conf.transparent() && door.GetDetail() != "" {
		fmt.Fprintf(os.Stderr, "graft-cni: only programs that preload libgraft.so are grafted: %s\n", door.Detail)
	}
	return nil
}

// degraded is an error where no container can be given a table. What else is wrong is printed.
func degraded(status *graftv1.NodeStatus) error {
	code := types.ErrPluginNotAvailable
	var sentences []string
	for _, one := range status.Conditions {
		if !bars(one.Reason, status) {
			fmt.Fprintf(os.Stderr, "graft-cni: %s\n", one.Message)
			continue
		}
		sentences = append(sentences, one.Message)
		if one.Reason == "MODULE_NOT_LOADED" {
			// Containers that run have no endpoint either.
			code = types.ErrLimitedConnectivity
		}
	}
	if len(sentences) == 0 {
		return nil
	}
	return types.NewError(code, "graftd cannot serve: "+strings.Join(sentences, "; "), "")
}

// bars tells whether a condition is one of the module, of who has claimed the tables, or of the store.
func bars(reason string, status *graftv1.NodeStatus) bool {
	switch reason {
	case "MODULE_NOT_LOADED", "TABLES_CLAIMED":
		return true
	case "KERNEL_REFUSED":
		// Otherwise it refuses some resource, of this container or another.
		return status.Kernel.GetModuleState() == graftv1.ModuleState_MODULE_STATE_REFUSING
	}
	return strings.HasPrefix(reason, "STORE_")
}

// withGraftd does something with a connection, in so much time at most.
func withGraftd(conf *config, limit time.Duration, do func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	graftd, err := client.Dial(ctx, client.Options{Target: conf.Target})
	if err != nil {
		return err
	}
	defer graftd.Close()
	return do(ctx, graftd)
}

// explain says in a network's terms what graftd refuses in a namespace's.
func explain(err error) error {
	var failure *client.Error
	if !errors.As(err, &failure) {
		return err
	}
	explained := *failure
	switch {
	case failure.Reason == "SELECTOR_TAKEN":
		explained.Message = fmt.Sprintf("the container's network namespace has a table already, that of %s: graft-cni belongs "+
			"in one network of a container, and the annotations graft.* are left out then", failure.Metadata["resource"])
	case failure.Reason == "NOT_OURS" && failure.Metadata["owner"] == "":
		explained.Message = "the container is in the host's own network namespace, where there is nothing to graft: give " +
			"it another"
	default:
		return err
	}
	return &explained
}

func attachment(conf *config, args *skel.CmdArgs) container.Container {
	annotations := map[string]string{"graft.container": args.ContainerID}
	if pod := pod(args.Args); pod != "" {
		annotations["graft.pod"] = pod
	}
	selector := container.Path(args.Netns)
	if pid, ok := container.ProcessOf(args.Netns); ok {
		selector = container.Process(pid)
	}
	return container.Container{
		ID:       id(conf, args.ContainerID, args.IfName),
		Selector: selector,
		Labels: map[string]string{
			container.LabelSource: source,
			labelNetwork:          container.LabelValue(conf.Name),
			labelInterface:        container.LabelValue(args.IfName),
		},
		Annotations: annotations,
		Transparent: conf.transparent(),
	}
}

func id(conf *config, containerID, ifName string) string {
	return container.NamespaceID(source, containerID, conf.Name, ifName)
}

// pod returns NAMESPACE/NAME of a Kubernetes pod, as its runtime says; empty where there is none.
func pod(args string) string {
	found := map[string]string{}
	for _, pair := range strings.Split(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		found[key] = value
	}
	if found["K8S_POD_NAME"] == "" {
		return ""
	}
	return found["K8S_POD_NAMESPACE"] + "/" + found["K8S_POD_NAME"]
}
