// Package aggregate makes other API servers part of this one: an APIService
// object names the service that answers for a group version, and requests for
// it are passed on in the name of their user.
//
// It also keeps an APIService for every group version that is served here, as
// clients expect, and tells discovery and OpenAPI of the others. A cluster
// without other servers pays for none of it: no check, no refresh, no timer.
//
// What the objects should be is pure (local.go); all goroutines belong to the
// server's hook.
package aggregate
