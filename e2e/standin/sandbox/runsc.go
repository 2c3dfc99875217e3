package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// addRunscToPath puts the directory that holds runsc first in PATH: it is beside this binary
// (bin/) or, for the shim of the Rust runtime (runtime-rs/bin/), in the tree's bin/. The PATH of
// an engine knows nothing of a versioned tree, and Kata's configuration has no key for it.
func addRunscToPath() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	own := filepath.Dir(self)
	for _, directory := range []string{own, filepath.Join(own, "..", "..", "bin")} {
		if _, err := os.Stat(filepath.Join(directory, "runsc")); err == nil {
			return os.Setenv("PATH", directory+string(os.PathListSeparator)+os.Getenv("PATH"))
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("the stand-in has no runsc beside %s", self)
}
