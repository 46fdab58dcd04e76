// SPDX-License-Identifier: Apache-2.0

package client

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is why a call failed, or why graftd could not be reached. Every error of a call is one.
type Error struct {
	// Code is the gRPC status.
	Code codes.Code

	// Reason is graftd's own: the name of a graftv1.ErrorReason without its prefix, as in ENDPOINT_NOT_FOUND. Empty
	// where the error is not graftd's: it could not be reached, did not answer in time, or is too old for the call.
	Reason string

	// Message is a sentence that says what was wrong and what would be right.
	Message string

	// Fields are those of the request that are wrong, in its order.
	Fields []Field

	// Metadata is what the reason's comment in proto/graft/v1/errors.proto names.
	Metadata map[string]string
}

// Field is a field of a request that is wrong.
type Field struct {
	// Path says where in the request it is, as in endpoint.inet.address.
	Path string

	// Description is a sentence.
	Description string
}

func (e *Error) Error() string { return e.Message }

// GRPCStatus is what status.Code and its like look at.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }
