// Package openapi publishes what the API looks like: the OpenAPI documents v2
// and v3, and the schemas by which applied fields are merged.
//
// What is built in is made ahead of time by tools/openapi (`go generate`) and
// embedded compressed; it is served as the very bytes that are embedded, so
// that publishing costs no memory. Versions that are served only where they are
// switched on have embedded documents too: those come from Previews. What is
// defined while the server runs (custom resources, aggregated servers) comes
// from further Sources. Sources are asked at every request and their documents
// not kept, but for the last v2 document, in which everything is one.
//
// Run the generator after a change of routes or of a k8s.io release; a test
// says so when it is forgotten.
package openapi

//go:generate go run ../../../tools/openapi -out embedded
