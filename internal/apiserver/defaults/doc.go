// Package defaults fills what a client left out, one file per API group, with
// the values that Kubernetes publishes. Each group's function registers typed
// defaulting functions on a scheme; they run on every decode, so they are pure
// and idempotent: a second pass changes nothing. Rules that need a user, a
// clock or another object belong to strategies or admission, never here.
package defaults
