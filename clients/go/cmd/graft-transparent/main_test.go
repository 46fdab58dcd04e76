// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"graftd/clients/go/internal/transparent"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		words  []string
		status int
	}{
		{nil, wrongUsage},
		{[]string{"start"}, wrongUsage},
		{[]string{"load", "now"}, wrongUsage},
		{[]string{"status", "--yaml"}, wrongUsage},
		{[]string{"status", "--json", "twice"}, wrongUsage},
		{[]string{"--help"}, done},
		{[]string{"-h"}, done},
	}
	for _, test := range tests {
		var out, complaints bytes.Buffer
		if status := run(test.words, &out, &complaints); status != test.status {
			t.Errorf("%q: status %d, want %d", test.words, status, test.status)
		}
		said, silent := &complaints, &out
		if test.status == done {
			said, silent = silent, said
		}
		if !strings.HasPrefix(said.String(), "usage: graft-transparent load | unload | status") || silent.Len() != 0 {
			t.Errorf("%q: printed %q and complained %q", test.words, out.String(), complaints.String())
		}
	}
}

func TestEnd(t *testing.T) {
	lacking := &transparent.KernelCannotError{Lacks: "it lacks the hook"}
	tests := []struct {
		err    error
		status int
		said   string
	}{
		{nil, done, ""},
		{errors.New("no room"), failed, "graft-transparent: no room\n"},
		{lacking, kernelCannot, "graft-transparent: this kernel cannot serve the BPF door: it lacks the hook\n"},
		{fmt.Errorf("loading: %w", lacking), kernelCannot, "graft-transparent: loading: this kernel cannot serve the BPF door: it lacks the hook\n"},
	}
	for _, test := range tests {
		var complaints bytes.Buffer
		if status := end(test.err, &complaints); status != test.status || complaints.String() != test.said {
			t.Errorf("%v: status %d, said %q; want %d, %q", test.err, status, complaints.String(), test.status, test.said)
		}
	}
}

func TestWriting(t *testing.T) {
	missed := uint64(7)
	for _, test := range []struct {
		missed       *uint64
		text, object string
	}{
		{&missed, "at most 7", "7"},
		{nil, "may not be asked", "null"},
	} {
		now := transparent.Status{State: transparent.Served, Detail: "all is well", Namespaces: 3, Missed: test.missed}
		var text, object bytes.Buffer
		if err := writeText(&text, now); err != nil {
			t.Fatal(err)
		}
		if want := "served\nall is well\nnamespaces: 3\nmissed: " + test.text + "\n"; text.String() != want {
			t.Errorf("got %q, want %q", text.String(), want)
		}
		if err := writeJSON(&object, now); err != nil {
			t.Fatal(err)
		}
		if want := `{"state":"served","detail":"all is well","namespaces":3,"missed":` + test.object + "}\n"; object.String() != want {
			t.Errorf("got %q, want %q", object.String(), want)
		}
	}
}
