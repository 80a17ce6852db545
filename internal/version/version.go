// Package version says which Sinawi this is and which Kubernetes API it speaks.
package version

import "runtime"

const (
	// KubernetesMajor and KubernetesMinor are the API level that is served.
	KubernetesMajor = "1"
	KubernetesMinor = "37"
	// Kubernetes is the version that /version and node objects report: the
	// patch release of the k8s.io libraries this binary is built from.
	Kubernetes = "v1.37.2+sinawi"
)

// build is set by the linker to the commit or tag that was built.
var build = "unknown"

// Build is the commit or tag this binary was built from.
func Build() string { return build }

// Go is the toolchain and platform this binary was built with.
func Go() string { return runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH }
