// Package client lets parts of the server's process read and write through the
// Kubernetes API without requests: Client is a controller-runtime client.Client
// whose writes call the registry, Cache a cache.Cache that shares the very
// objects which the API server's watch caches hold.
//
//	      Client ──► admission ──► registry ──► store
//	                                              │
//	handlers, Get, List ◄── Cache ◄── feed ◄──────┘
//
// A write passes what a request passes from decoding on: defaults, managed
// fields, mutating and validating admission (policies and webhooks included),
// validation, the store; its event reaches all watchers. It is made in the name
// of the Client's user, who is trusted: there is no authentication, no
// authorization and no queue.
//
// Objects of the Cache are shared with everybody: handlers, and readers who ask
// for no deep copy, must not change them. With Options.Guard the Cache panics
// when somebody did.
//
// Kinds that the server does not keep as Go types (custom resources, metadata
// alone), kinds that have no feed (events, for reading), JSON patches and
// server-side apply go to the Fallback, a client and cache over ordinary
// requests. The Cache owns goroutines while Start runs, and none before or
// after.
package client
