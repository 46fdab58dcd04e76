// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"graftd/clients/go/container"
	"graftd/clients/go/graftv1"
)

// No runtime's documents are longer.
const documentMost = 16 << 20

// state is what a runtime tells its hooks: the OCI runtime specification's state, and the bundle's config.json where it
// was needed.
type state struct {
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	PID         int               `json:"pid"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations"`

	config *config
}

// config is what matters here of a bundle's config.json.
type config struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
	} `json:"linux"`
}

func readState(in io.Reader) (*state, error) {
	var s state
	if err := decode(in, &s); err != nil {
		return nil, fmt.Errorf("stdin is not the state that a runtime gives its hooks: %w", err)
	}
	if s.ID == "" {
		return nil, errors.New("stdin is not the state that a runtime gives its hooks: it has no 'id'")
	}
	return &s, nil
}

// stage is the hook that the status goes with.
func (s *state) stage() (string, error) {
	switch s.Status {
	case "creating", "created":
		return "createRuntime", nil
	case "stopped":
		return "poststop", nil
	}
	return "", fmt.Errorf("container %s: the status %q goes with neither hook: createRuntime has creating or created, "+
		"poststop has stopped", s.ID, s.Status)
}

func decode(in io.Reader, into any) error {
	text, err := io.ReadAll(io.LimitReader(in, documentMost+1))
	switch {
	case err != nil:
		return err
	case len(text) > documentMost:
		return fmt.Errorf("it is longer than %d MiB", documentMost>>20)
	case len(text) == 0:
		return errors.New("it is empty")
	}
	return json.Unmarshal(text, into)
}

// annotations are the state's or, where the runtime gives it none at all, those of config.json.
func (s *state) annotations() (map[string]string, error) {
	if s.Annotations != nil {
		return s.Annotations, nil
	}
	if err := s.readConfig(); err != nil {
		return nil, err
	}
	return s.config.Annotations, nil
}

func (s *state) readConfig() error {
	if s.config != nil {
		return nil
	}
	path := filepath.Join(s.Bundle, "config.json")
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the container's configuration: %w", err)
	}
	defer file.Close()
	var read config
	if err := decode(file, &read); err != nil {
		return fmt.Errorf("reading the container's configuration %s: %w", path, err)
	}
	s.config = &read
	return nil
}

// source tells Docker's containers, which containerd runs in its namespace moby, from others.
func (s *state) source() string {
	if filepath.Base(filepath.Dir(s.Bundle)) == "moby" {
		return "docker"
	}
	return "oci"
}

var errHostNetwork = errors.New("it is in the host's own network namespace, where there is nothing to graft: " +
	"give it another, as in --network none, or leave the annotations out")

// network returns the selector of the container's network namespace, and its file where the runtime did not make it.
func (s *state) network() (selector *graftv1.NamespaceSelector, file string, err error) {
	if err := s.readConfig(); err != nil {
		return nil, "", err
	}
	for _, namespace := range s.config.Linux.Namespaces {
		switch {
		case namespace.Type != "network":
		case namespace.Path != "":
			if pid, ok := container.ProcessOf(namespace.Path); ok {
				return container.Process(pid), "", nil
			}
			return container.Path(namespace.Path), namespace.Path, nil
		case s.PID <= 0 || s.PID > math.MaxInt32:
			return nil, "", fmt.Errorf("its state has no process (pid %d), which it has at createRuntime", s.PID)
		default:
			return container.Process(uint32(s.PID)), "", nil
		}
	}
	return nil, "", errHostNetwork
}
