// Package spec translates a pod into what a container runtime is asked for: the
// sandbox and each container in CRI's words, with names, labels and annotations
// from which package observed reads the pod back.
//
// It is pure: everything that is not in the pod (addresses, paths, environment,
// the node's resolver) comes in as a value. It never decides whether something
// should run.
package spec
