// Package csr answers certificate signing requests for the signers that every
// cluster has: it approves what nodes ask for themselves, signs what has been
// approved, and removes requests that have had their time.
//
// Who may ask for what is pure (plan.go). The key of the authority stays with
// the Signer that it is given.
package csr
