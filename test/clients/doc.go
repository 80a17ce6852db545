// Package clients runs the programs that people use with Kubernetes, as their makers
// wrote them, against a real node: Helm 3 and 4 with charts, metrics-server as another
// API server in a pod, cert-manager's controllers as an operator.
//
// The programs come from the Go modules that programs/go.mod names and are built
// when a test first needs them.
package clients
