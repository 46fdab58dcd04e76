// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"graftd/clients/go/client"
	"graftd/clients/go/container"
	"graftd/clients/go/graftv1"
)

// annotationContainer keeps a container's id in full: the namespace's own id may have no room for it.
const annotationContainer = "graft.container"

// ociHook is createRuntime or poststop. A hooks.d file has the same words for every stage: it says hook, and the status
// tells them apart.
func ociHook(ctx context.Context, verb string, stdin io.Reader) error {
	s, err := readState(stdin)
	if err == nil && verb == "hook" {
		verb, err = s.stage()
	}
	switch {
	case err != nil && verb == "poststop":
		return &lateError{err}
	case err != nil:
		return err
	case verb == "poststop":
		return s.poststop(ctx)
	}
	return s.createRuntime(ctx)
}

func (s *state) createRuntime(ctx context.Context) error {
	annotations, err := s.annotations()
	if err == nil && container.Annotated(annotations) {
		err = s.graft(ctx, annotations)
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", s.ID, err)
	}
	return nil
}

func (s *state) graft(ctx context.Context, annotations map[string]string) error {
	table, transparent, err := container.FromAnnotations(annotations)
	if err != nil {
		return err
	}
	selector, file, err := s.network()
	if err != nil {
		return err
	}
	// A runtime brings lo up where it makes the namespace, and there alone.
	if file != "" {
		if err := container.RaiseLoopback(file); err != nil {
			return err
		}
	}
	return apply(ctx, container.Container{
		ID:          container.NamespaceID("oci", s.ID),
		Selector:    selector,
		Origin:      s.Bundle,
		Labels:      map[string]string{container.LabelSource: s.source()},
		Annotations: map[string]string{annotationContainer: s.ID},
		Transparent: transparent,
		// Who made the image may have written the annotations.
		WithinPolicy: true,
	}, table)
}

func apply(ctx context.Context, one container.Container, table *container.Table) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	graftd, err := client.Dial(ctx, client.Options{Patience: startPatience})
	if err != nil {
		return err
	}
	defer graftd.Close()
	if one.Transparent {
		if err := doorServed(ctx, graftd); err != nil {
			return err
		}
	}
	return explain(container.Apply(ctx, graftd, one, table))
}

// doorServed fails where the programs of a container that is to be transparent would not be grafted. A program that is
// being loaded, as at boot, is waited for.
func doorServed(ctx context.Context, graftd *client.Client) error {
	until := time.Now().Add(doorPatience)
	for {
		found, err := graftd.Node.GetStatus(ctx, &graftv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		switch door := found.Transparent; door.GetState() {
		case graftv1.TransparentState_TRANSPARENT_STATE_NOT_LOADED:
			if time.Now().Before(until) {
				time.Sleep(doorPatience / 20)
				continue
			}
			return notServed(door)
		case graftv1.TransparentState_TRANSPARENT_STATE_KERNEL_CANNOT, graftv1.TransparentState_TRANSPARENT_STATE_FAILED:
			return notServed(door)
		}
		return nil
	}
}

func notServed(door *graftv1.TransparentStatus) error {
	return fmt.Errorf("its programs would not be grafted: %s; or say that it is not transparent, and have its programs "+
		"load libgraft.so", door.Detail)
}

// explain says in a container's terms what graftd refuses in a namespace's.
func explain(err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Reason {
	case "SELECTOR_TAKEN":
		return fmt.Errorf("its network namespace has a table already, that of %s: containers of one pod share it, so "+
			"the annotations graft.* belong on one of them alone, the one that lives longest", refused.Metadata["resource"])
	case "POLICY_DENIED":
		return fmt.Errorf("%w; annotations may ask for what a policy for namespaces like oci-* allows, in "+
			"/etc/graftd/graftd.toml, once systemctl reload graftd has read it", err)
	case "NOT_OURS":
		if refused.Metadata["owner"] == "" {
			return errHostNetwork
		}
	}
	return err
}

// lateError is one that came when nothing is lost any more.
type lateError struct{ err error }

func (e *lateError) Error() string { return e.err.Error() }

func (s *state) poststop(ctx context.Context) error {
	// Where the bundle is gone nobody knows, and to remove nothing is no error.
	annotations, err := s.annotations()
	if err == nil && !container.Annotated(annotations) {
		return nil
	}
	return remove(ctx, container.NamespaceID("oci", s.ID), s.Bundle)
}

func remove(ctx context.Context, id, origin string) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	graftd, err := client.Dial(ctx, client.Options{Patience: stopPatience})
	if err == nil {
		defer graftd.Close()
		err = container.Remove(ctx, graftd, id, origin)
	}
	if err != nil {
		reason := strings.TrimSuffix(err.Error(), ".")
		return &lateError{fmt.Errorf("%s; namespaces/%s stays until its network namespace is gone", reason, id)}
	}
	return nil
}
