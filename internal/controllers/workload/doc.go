// Package workload knows what all controllers of pods know: when a pod is
// active, ready and available, how a pod is made from a template, which pods go
// first, and whose an object is (adopting and releasing by controller reference).
// For all of them it watches what they own, claims it, and makes and deletes pods.
//
// The decisions here are pure; the few writes take a client and name it. It
// never keeps state and starts no goroutine beyond the call that needs it.
package workload
