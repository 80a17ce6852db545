// Package store owns the cluster's database: an etcd member that runs inside
// this process, its files and its version on disk. A write that was
// acknowledged is on disk (fsync) and survives a killed process.
//
// The package hands out one client for the whole process; it speaks to the
// member by function calls, without a socket. It knows nothing of Kubernetes:
// what the keys mean is the API server's business. What changed is told by
// package feed below it.
package store
