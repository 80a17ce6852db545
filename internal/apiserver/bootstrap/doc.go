// Package bootstrap owns the objects that every cluster has from its first
// moment: the system namespaces, the kubernetes service and its endpoints, the
// system priority classes, the flow control that upstream suggests, the
// service network, what extension API servers must know to trust this one, and
// since when the use of tokens is recorded.
//
// What the objects are is pure data (objects.go); making them and, for those
// that must never be missing, keeping them is the Keeper's work. It never
// overwrites what an administrator may change: priority classes are made once,
// flow control follows this release only where it is marked to.
//
// The Keeper is plugged into the server, which owns its goroutine.
package bootstrap
