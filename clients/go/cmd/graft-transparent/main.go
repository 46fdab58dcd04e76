// SPDX-License-Identifier: Apache-2.0

// Command graft-transparent loads the program of the BPF door, removes it, and
// says whether it serves.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"graftd/clients/go/internal/transparent"
)

const usage = `usage: graft-transparent load | unload | status [--json] | --version

  load     put the BPF program in place, or a newer one in its place
  unload   remove it, with its map of namespaces
  status   say whether it serves

Exit status: 0 done, for status: it serves; 1 it failed; 2 wrong usage;
3 (status) not loaded; 4 this kernel cannot.
`

// The version, which the build sets.
var version = "0"

const (
	done         = 0
	failed       = 1
	wrongUsage   = 2
	notLoaded    = 3
	kernelCannot = 4
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(words []string, out, complaints io.Writer) int {
	switch {
	case is(words, "--help"), is(words, "-h"):
		fmt.Fprint(out, usage)
		return done
	case is(words, "--version"), is(words, "-V"):
		fmt.Fprintf(out, "graft-transparent %s\n", version)
		return done
	case is(words, "load"):
		return load(complaints)
	case is(words, "unload"):
		return end(transparent.Unload(), complaints)
	case is(words, "status"):
		return status(out, complaints, writeText)
	case is(words, "status", "--json"):
		return status(out, complaints, writeJSON)
	}
	fmt.Fprint(complaints, usage)
	return wrongUsage
}

func is(words []string, wanted ...string) bool {
	if len(words) != len(wanted) {
		return false
	}
	for i, word := range words {
		if word != wanted[i] {
			return false
		}
	}
	return true
}

func load(complaints io.Writer) int {
	notice, err := transparent.Load()
	if notice != "" {
		fmt.Fprintf(complaints, "graft-transparent: %s\n", notice)
	}
	return end(err, complaints)
}

// end reports an error, if there is one, and returns the exit status that it makes.
func end(err error, complaints io.Writer) int {
	if err == nil {
		return done
	}
	fmt.Fprintf(complaints, "graft-transparent: %v\n", err)
	var cannot *transparent.KernelCannotError
	if errors.As(err, &cannot) {
		return kernelCannot
	}
	return failed
}

func status(out, complaints io.Writer, write func(io.Writer, transparent.Status) error) int {
	now, err := transparent.Read()
	if err == nil {
		err = write(out, now)
	}
	if err != nil {
		return end(err, complaints)
	}
	switch now.State {
	case transparent.NotLoaded:
		return notLoaded
	case transparent.KernelCannot:
		return kernelCannot
	}
	return done
}

func writeJSON(out io.Writer, now transparent.Status) error {
	return json.NewEncoder(out).Encode(now)
}

func writeText(out io.Writer, now transparent.Status) error {
	missed := "may not be asked"
	if now.Missed != nil {
		missed = "at most " + strconv.FormatUint(*now.Missed, 10)
	}
	_, err := fmt.Fprintf(out, "%s\n%s\nnamespaces: %d\nmissed: %s\n", now.State, now.Detail, now.Namespaces, missed)
	return err
}
