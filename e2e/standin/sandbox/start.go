package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/pkg/shim"
)

// gVisor's shim serves version 2 of the task API. containerd 1.7 refuses 3, and with 3 no containerd
// finds the sandbox again after a restart of its own.
const taskAPIVersion = 2

// Since 1.7 containerd tells a shim by this variable that it reads the answer of "start" as JSON.
const maxVersionVariable = "MAX_SHIM_VERSION"

// sandboxManager is gVisor's, but for Start: gVisor's own sets an out-of-memory score that needs
// CAP_SYS_RESOURCE, which a node in a container does not have. containerd's runc shim starts alike.
type sandboxManager struct {
	shim.Manager
	starter shim.Manager
}

// Start returns the address of the process that serves the task. Under containerd 1.6, which takes
// the whole of standard output for the address, it prints the address and ends the process.
func (m sandboxManager) Start(ctx context.Context, id string, options shim.StartOpts) (shim.BootstrapParams, error) {
	if err := markSandbox("config.json"); err != nil {
		return shim.BootstrapParams{}, err
	}
	parameters, err := m.starter.Start(ctx, id, options)
	if err != nil {
		return parameters, err
	}
	// containerd 1.x looks here for its shims after a restart of its own; 2.x keeps a file itself.
	if err := os.WriteFile("address", []byte(parameters.Address), 0o600); err != nil {
		return parameters, err
	}
	parameters.Version = taskAPIVersion
	if os.Getenv(maxVersionVariable) == "" {
		fmt.Print(parameters.Address)
		os.Exit(0)
	}
	return parameters, nil
}
