// Package serviceaccount owns the identities of workloads: it issues the JSON
// web tokens that service accounts carry, proves them, and publishes the keys
// by which others can prove them too.
//
// A token is a signature over claims. Issuing and reading claims is pure; what
// a claim refers to (the account, and the pod, node or secret that the token is
// bound to) is looked up at every proof, so that a token dies with the object
// that it is bound to and never outlives its account.
//
// The package starts no goroutine and keeps no token.
package serviceaccount
