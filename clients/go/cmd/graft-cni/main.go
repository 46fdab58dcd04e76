// SPDX-License-Identifier: Apache-2.0

// Graft-cni is a CNI plugin that gives a container its endpoints, alone or behind plugins that make interfaces.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	cni "github.com/containernetworking/cni/pkg/version"
)

// Set by the linker.
var version = "unversioned"

func main() {
	skel.PluginMainFuncs(
		skel.CNIFuncs{Add: add, Check: check, Del: del, GC: gc, Status: status},
		cni.PluginSupports("0.4.0", "1.0.0", "1.1.0"),
		"CNI plugin graft-cni "+version,
	)
}
