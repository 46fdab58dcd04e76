// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Where the packages install them.
const (
	hookPath    = "/usr/libexec/graft/graft-oci-hook"
	libraryPath = "/usr/lib/graft/libgraft.so"
)

// The parts of the Container Device Interface's specification 0.5.0 that are used.
type (
	cdiSpec struct {
		Version string      `json:"cdiVersion"`
		Kind    string      `json:"kind"`
		Devices []cdiDevice `json:"devices"`
	}
	cdiDevice struct {
		Name  string   `json:"name"`
		Edits cdiEdits `json:"containerEdits"`
	}
	cdiEdits struct {
		Env    []string   `json:"env,omitempty"`
		Mounts []cdiMount `json:"mounts,omitempty"`
		Hooks  []cdiHook  `json:"hooks,omitempty"`
	}
	cdiMount struct {
		HostPath      string   `json:"hostPath"`
		ContainerPath string   `json:"containerPath"`
		Options       []string `json:"options"`
	}
	cdiHook struct {
		Name    string   `json:"hookName"`
		Path    string   `json:"path"`
		Args    []string `json:"args"`
		Timeout int      `json:"timeout"`
	}
)

// cdiDevices are graft/container=hook, for runtimes without a hooks.d, and graft/container=preload.
func cdiDevices() cdiSpec {
	hook := func(name string) cdiHook {
		return cdiHook{Name: name, Path: hookPath, Args: []string{"graft-oci-hook", name}, Timeout: 15}
	}
	return cdiSpec{
		Version: "0.5.0",
		Kind:    "graft/container",
		Devices: []cdiDevice{
			{Name: "hook", Edits: cdiEdits{Hooks: []cdiHook{hook("createRuntime"), hook("poststop")}}},
			{Name: "preload", Edits: cdiEdits{
				Env: []string{"LD_PRELOAD=" + libraryPath},
				Mounts: []cdiMount{{
					HostPath:      libraryPath,
					ContainerPath: libraryPath,
					Options:       []string{"ro", "nosuid", "nodev", "bind"},
				}},
			}},
		},
	}
}

func cdi(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("cdi", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	out := flags.String("out", "", "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("cdi: %w: %w", err, errUsage)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("cdi takes no more words, and there is %q: %w", flags.Arg(0), errUsage)
	}
	text, err := json.MarshalIndent(cdiDevices(), "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if *out == "" {
		_, err = stdout.Write(text)
		return err
	}
	return replace(*out, text)
}

// replace writes a file whole: runtimes watch the folder and would read half of one.
func replace(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".graft-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	if err == nil {
		err = file.Chmod(0o644)
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
