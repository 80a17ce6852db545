// Command openapi makes the OpenAPI documents and merge schemas that the API
// server embeds: it generates definitions from the Go types' comments, lays
// them over package definitions, and has compile write what the server's own
// routes say with them.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	out := flag.String("out", "", "the directory of the embedded documents")
	flag.Parse()
	if err := generate(*out); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// stub is the file, from the module's root, over which definitions are laid.
const stub = "tools/openapi/definitions/definitions.go"

func generate(out string) error {
	if out == "" {
		return fmt.Errorf("-out is missing")
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	root, err := output("go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sinawi-openapi-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := definitions(dir); err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	data, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(root, stub): filepath.Join(dir, "definitions.go")},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		return err
	}
	return run("go", "run", "-overlay", overlay, "./tools/openapi/compile", "-out", out)
}

// definitions writes the definitions of all types into dir.
func definitions(dir string) error {
	packages, err := output("go", "list", "k8s.io/api/...")
	if err != nil {
		return err
	}
	args := []string{
		"tool", "openapi-gen",
		"--output-dir", dir, "--output-pkg", "definitions", "--output-file", "definitions.go",
		"--report-filename", filepath.Join(dir, "report"), "--go-header-file", os.DevNull,
		"k8s.io/apimachinery/pkg/apis/meta/v1",
		"k8s.io/apimachinery/pkg/runtime",
		"k8s.io/apimachinery/pkg/version",
		"k8s.io/apimachinery/pkg/api/resource",
		"k8s.io/apimachinery/pkg/util/intstr",
		"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
		"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1",
		"k8s.io/metrics/pkg/apis/metrics/v1beta1",
	}
	return run("go", append(args, strings.Fields(packages)...)...)
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return strings.TrimSpace(string(data)), nil
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s %s: %w", name, args[0], args[1], err)
	}
	return nil
}
