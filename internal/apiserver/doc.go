// Package apiserver serves the Kubernetes API over the store. It puts together
// what its sub-packages own: rows become REST storage (rows, resources) on one
// etcd client (storage, ../store), under one scheme (scheme), behind the
// handlers of k8s.io/apiserver.
//
// A Server owns its goroutines between the call of Run and its return. It
// never reads configuration files and never decides who may do what: those
// come as authenticator, authorizer and admission in its Config.
package apiserver
