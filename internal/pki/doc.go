// Package pki owns the certificates and keys of one cluster: the cluster CA,
// the front-proxy CA (request headers of aggregated API servers), the key that
// signs service account tokens, and the leaf certificates that they issue.
//
// Everything lies in one directory as PEM. A file is written whole or not at
// all, and private keys are readable by their owner only. Opening the
// directory again reads what is there and makes only what is missing, expired
// or no longer fits (a new address needs a new serving certificate); a CA is
// never replaced silently, because every client trusts the one it has.
//
// Keys are ECDSA P-256: quick to make at the first start and accepted by every
// Kubernetes client. The package starts no goroutine; the caller decides when
// to look for certificates that are due.
package pki
