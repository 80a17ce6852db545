package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// create makes the container of a bundle: its init process is set up and waits
// for start.
func create(inv invocation) error {
	var (
		l         launch
		bundle    string
		noPivot   bool
		noKeyring bool
	)
	flags := newFlags(inv.name)
	l.register(flags)
	flags.StringVar(&bundle, "bundle", "", "")
	flags.StringVar(&bundle, "b", "", "")
	flags.BoolVar(&noPivot, "no-pivot", false, "")
	flags.BoolVar(&noKeyring, "no-new-keyring", false, "")
	id, _, err := inv.parseID(flags, 0)
	if err != nil {
		return err
	}
	if err := l.absolute(); err != nil {
		return err
	}
	// The configuration names the root file system relative to the bundle, and
	// libcontainer records the working directory as the bundle.
	if bundle != "" {
		if err := os.Chdir(bundle); err != nil {
			return fmt.Errorf("enter bundle: %w", err)
		}
	}
	spec, err := readSpec("config.json")
	if err != nil {
		return err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       id,
		UseSystemdCgroup: inv.systemdCgroup,
		NoPivotRoot:      noPivot,
		NoNewKeyring:     noKeyring,
		Spec:             spec,
	})
	if err != nil {
		return err
	}
	container, err := libcontainer.Create(inv.root, id, config)
	if err != nil {
		return err
	}
	if err := l.run(container, spec.Process, true); err != nil {
		// Best effort: what cannot be undone here, delete --force undoes.
		_ = container.Destroy()
		return err
	}
	return nil
}

// readSpec reads and checks a bundle's configuration.
func readSpec(path string) (*specs.Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read container configuration: %w", err)
	}
	return parseSpec(data)
}

func parseSpec(data []byte) (*specs.Spec, error) {
	var spec *specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("parse container configuration: %w", err)
	}
	if spec == nil {
		return nil, errors.New("container configuration is empty")
	}
	if err := checkProcess(spec.Process); err != nil {
		return nil, err
	}
	return spec, nil
}

// parseProcess parses what exec is given: one process, without a container.
func parseProcess(data []byte) (*specs.Process, error) {
	var p *specs.Process
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("parse process: %w", err)
	}
	if err := checkProcess(p); err != nil {
		return nil, err
	}
	return p, nil
}

func checkProcess(p *specs.Process) error {
	switch {
	case p == nil:
		return errors.New("no process given")
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("working directory %q is not an absolute path", p.Cwd)
	case len(p.Args) == 0:
		return errors.New("process has no arguments: name the program to run")
	}
	return nil
}
