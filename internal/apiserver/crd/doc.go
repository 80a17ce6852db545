// Package crd serves custom resources: their definitions as an API group with
// types of its own, the resources themselves through the handler of
// k8s.io/apiextensions-apiserver, what discovery and OpenAPI tell of them, and
// the controllers that judge a definition.
//
// The wiring is our own: nothing waits in polls, documents are made when they
// are asked for, a resource costs nothing until its first request, and the
// first objects of a new resource are taken at once.
//
// A definition that is served at the start is served again before the server
// says that it is ready. All goroutines belong to the server's hooks.
package crd
