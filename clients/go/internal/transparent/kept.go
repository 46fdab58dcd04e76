// SPDX-License-Identifier: Apache-2.0

package transparent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keptPath is where a restarted unit keeps who is in the map, so the door
// serves them before graftd has looked: in the folder that systemd makes, and
// removes where the unit is stopped for good. "" without such a folder.
func keptPath() string {
	given := os.Getenv("RUNTIME_DIRECTORY")
	if given == "" {
		return ""
	}
	return filepath.Join(given, "namespaces.json")
}

// keep writes down who is in the map that is pinned.
func keep() error {
	path := keptPath()
	if path == "" {
		return nil
	}
	cookies, err := listNamespaces()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return write(path, cookies)
}

func write(path string, cookies []uint64) error {
	text, err := json.Marshal(cookies)
	if err != nil {
		return fmt.Errorf("keeping the namespaces for a restart: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("keeping the namespaces for a restart: %w", err)
	}
	return nil
}

// takeKept returns who was kept, once: later graftd knows better.
func takeKept() ([]uint64, error) {
	path := keptPath()
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var cookies []uint64
	if err == nil {
		err = json.Unmarshal(text, &cookies)
	}
	if err = errors.Join(err, os.Remove(path)); err != nil {
		return nil, fmt.Errorf("reading the namespaces that were kept for a restart: %w", err)
	}
	return cookies, nil
}
