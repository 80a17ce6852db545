// Package outlook answers questions about placement from a picture of the cluster,
// without placing anything: why a pod has no node and what the smallest change is
// that would give it one; where an application would land; what a node's loss would
// do. It uses the scheduler's own engine and rules, so that its answers are what the
// scheduler would do.
//
// It is pure: it knows the objects that it is given, asks nobody and has no clock.
// Answers are data; sentences for people are made by whoever shows them.
package outlook
