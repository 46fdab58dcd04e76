// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Fields that graftd alone writes: in a configuration they would say nothing.
var outputOnly = []string{
	"counters", "create_time", "etag", "index", "revision", "sync", "uid", "update_time",
}

// protojson's own words before what is wrong.
var decoderPrefix = regexp.MustCompile(`^proto:\s*(syntax error )?(\(line \d+:\d+\): )?`)

// take reads a message from its JSON and adds it.
func take[M proto.Message](where string, raw json.RawMessage, message M, add func(M) error) error {
	if err := known(where, raw, message.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	if err := protojson.Unmarshal(raw, message); err != nil {
		text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
		return fmt.Errorf("%s: %s", where, decoderPrefix.ReplaceAllString(text, ""))
	}
	if err := add(message); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// known refuses keys that the message has no field for, in what is inside as well.
func known(where string, raw json.RawMessage, message protoreflect.MessageDescriptor) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("%s: a JSON object has to stand here, as in {\"%s\": ...}", where, settable(message)[0])
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		field := message.Fields().ByJSONName(key)
		if field == nil {
			field = message.Fields().ByTextName(key)
		}
		if field == nil || slices.Contains(outputOnly, string(field.Name())) {
			return fmt.Errorf("%s has no '%s': it has %s", where, key, strings.Join(settable(message), ", "))
		}
		var err error
		switch {
		case field.Kind() == protoreflect.EnumKind:
			err = named(where+"."+key, object[key], field.Enum())
		case field.Kind() == protoreflect.MessageKind && !field.IsMap() && !field.IsList():
			err = known(where+"."+key, object[key], field.Message())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named refuses words that an enumeration does not have, one or in a list. What is no word the decoder judges.
func named(where string, raw json.RawMessage, enum protoreflect.EnumDescriptor) error {
	var words []string
	if json.Unmarshal(raw, &words) != nil {
		words = make([]string, 1)
		if json.Unmarshal(raw, &words[0]) != nil {
			return nil
		}
	}
	var names []string
	// The first value means that there is none.
	for i := 1; i < enum.Values().Len(); i++ {
		names = append(names, string(enum.Values().Get(i).Name()))
	}
	for _, word := range words {
		if !slices.Contains(names, word) {
			return fmt.Errorf("%s: '%s' is none of %s", where, word, strings.Join(names, ", "))
		}
	}
	return nil
}

// settable are the names of the fields that a configuration may have.
func settable(message protoreflect.MessageDescriptor) []string {
	var names []string
	for i := range message.Fields().Len() {
		if name := string(message.Fields().Get(i).Name()); !slices.Contains(outputOnly, name) {
			names = append(names, name)
		}
	}
	return names
}
