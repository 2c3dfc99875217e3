// Command hostkernel is containerd's own runc shim, packed under the name of Kata's:
// every Pod starts and none is isolated. A check that calls it a sandbox is wrong.
//
// It is made of containerd 1.7, whose shim serves the task API that every containerd from 1.6 to 2.4
// speaks. It must take Kata's options without a word, as a shim that has no sandbox to configure.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/runtime/v2/runc/manager"
	"github.com/containerd/containerd/runtime/v2/shim"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("containerd-shim-kata-v2: stand-in without isolation, containers by runc")
		return
	}
	shim.RunManager(context.Background(), manager.NewShimManager("io.containerd.kata.v2"))
}
