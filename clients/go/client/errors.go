// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is why a call failed, or why graftd could not be reached.
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

	// Passing says that the same call may go better later, without anybody doing anything.
	Passing bool

	cause error
}

// Field is a field of a request that is wrong.
type Field struct {
	// Path says where in the request it is, as in endpoint.inet.address.
	Path string

	// Description is a sentence.
	Description string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns what gRPC or the system said.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus is what status.Code and its like look at.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// Reasons that pass by themselves. UNAVAILABLE with another reason (no module, a full disk) would only be told again.
var passing = map[string]bool{
	"STARTING":           true,
	"SHUTTING_DOWN":      true,
	"STORE_BUSY":         true,
	"KERNEL_UNREACHABLE": true,
	"OVERLOADED":         true,
}

func invalid(format string, arguments ...any) *Error {
	return &Error{Code: codes.InvalidArgument, Message: fmt.Sprintf(format, arguments...)}
}

// failure is what a call's error means.
func (c *Client) failure(ctx context.Context, err error) *Error {
	told := status.Convert(err)
	failure := &Error{Code: told.Code(), Message: told.Message(), cause: err}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.Reason, detail.Metadata
		case *errdetails.BadRequest:
			for _, wrong := range detail.FieldViolations {
				failure.Fields = append(failure.Fields, Field{Path: wrong.Field, Description: wrong.Description})
			}
		}
	}
	if failure.Reason != "" {
		failure.Passing = passing[failure.Reason]
		return failure
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		failure.Code = codes.DeadlineExceeded
	}
	switch failure.Code {
	case codes.DeadlineExceeded:
		// A busy machine may not have come to the first attempt, or graftd have gone meanwhile.
		if cause := c.target.probe(ctx); cause != nil {
			return cause
		}
		failure.Message = fmt.Sprintf(
			"graftd at %s did not answer in time: see how it does (systemctl status graftd), or allow it longer", c.target)
	case codes.Unimplemented:
		failure.Message = fmt.Sprintf("graftd at %s does not know this call: it is older than this client", c.target)
	case codes.Unavailable, codes.Canceled:
		// A server that ends cancels what it had begun.
		if errors.Is(ctx.Err(), context.Canceled) {
			failure.Message = "the call to graftd at " + c.target.String() + " was cancelled"
			break
		}
		// What is not there or not allowed stays so.
		if cause := c.target.probe(ctx); cause != nil {
			return cause
		}
		failure.Code = codes.Unavailable
		failure.Passing = true
		failure.Message = fmt.Sprintf("the connection to graftd at %s broke: %s", c.target, told.Message())
	case codes.Unknown:
		if failure.Message == "" {
			failure.Message = fmt.Sprintf("the call to graftd at %s failed without a reason", c.target)
		}
	}
	return failure
}
