// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"google.golang.org/grpc/codes"

	"graftd/clients/go/client"
)

// refused is the code of what graftd does not allow: a policy, a limit, a port that is another's. The specification
// leaves the codes from 100 on to plugins.
const refused = 100

// The request's words for what the configuration calls otherwise.
var configWords = strings.NewReplacer("endpoints.endpoints[", "endpoints[", "rules.rules[", "rules[", "acl_rules.acl_rules[", "acl[")

// told is an error as runtimes take it: a code, a sentence, and details.
func told(err error) error {
	var own *types.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	var failure *client.Error
	if !errors.As(err, &failure) {
		return types.NewError(types.ErrInternal, err.Error(), "")
	}
	code := uint(refused)
	switch {
	case failure.Passing || failure.Code == codes.DeadlineExceeded:
		code = types.ErrTryAgainLater
	case failure.Code == codes.InvalidArgument:
		code = types.ErrInvalidNetworkConfig
	}
	details := []string{fmt.Sprintf("graftd's status is %s", failure.Code)}
	if failure.Reason != "" {
		details[0] += ", for the reason " + failure.Reason
	}
	for _, field := range failure.Fields {
		details = append(details, configWords.Replace(field.Path)+": "+field.Description)
	}
	return types.NewError(code, err.Error(), strings.Join(details, "; "))
}

// unreachable tells whether graftd could not be asked, or could do nothing.
func unreachable(err error) bool {
	var failure *client.Error
	return errors.As(err, &failure) &&
		(failure.Passing || failure.Code == codes.Unavailable || failure.Code == codes.DeadlineExceeded)
}

// obstructed tells whether graftd cannot do it because of something that is no fault of the request's: another
// container's endpoints lead there, the kernel refuses it, the store is damaged.
func obstructed(err error) bool {
	var failure *client.Error
	return errors.As(err, &failure) && (failure.Code == codes.FailedPrecondition || failure.Code == codes.DataLoss)
}
