// Command containerd-shim-kata-v2 stands in for Kata's shim where no guest can be booted: Pods run
// in gVisor's sandbox, whose kernel is not the host's either.
//
// It owns what a runtime without Kata's hypervisors needs to look like Kata to an engine. It must
// never be mistaken for Kata: its version says what it is.
package main

import (
	"context"
	"fmt"
	"os"

	runcmanager "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/shim"
	gvisor "gvisor.dev/gvisor/pkg/shim/v1"
)

const runtimeName = "io.containerd.kata.v2"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("containerd-shim-kata-v2: stand-in for Kata Containers 4.1.0, sandbox by gVisor")
		return
	}
	if err := addRunscToPath(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shim.Run(context.Background(), sandboxManager{
		Manager: gvisor.NewShimManager(runtimeName),
		starter: runcmanager.NewShimManager(runtimeName),
	})
}
