package main

import (
	"encoding/json"
	"fmt"
	"os"
)

const criContainerType = "io.kubernetes.cri.container-type"
const crioContainerType = "io.kubernetes.cri-o.ContainerType"

// markSandbox says in the bundle's configuration that the container is a sandbox of its own, where
// no CRI said what it is (ctr, Docker): without it gVisor's shim waits for a sandbox for ever.
func markSandbox(configPath string) error {
	content, err := os.ReadFile(configPath)
	if err != nil {
		return err
	}
	var spec map[string]json.RawMessage
	if err := json.Unmarshal(content, &spec); err != nil {
		return fmt.Errorf("%s: %w", configPath, err)
	}
	annotations := map[string]string{}
	if raw, ok := spec["annotations"]; ok {
		if err := json.Unmarshal(raw, &annotations); err != nil {
			return fmt.Errorf("%s: annotations: %w", configPath, err)
		}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	if annotations[criContainerType] != "" || annotations[crioContainerType] != "" {
		return nil
	}
	annotations[criContainerType] = "sandbox"
	if spec["annotations"], err = json.Marshal(annotations); err != nil {
		return err
	}
	if content, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(configPath, content, 0o600)
}
