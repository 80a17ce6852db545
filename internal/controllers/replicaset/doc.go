// Package replicaset keeps as many pods of one template as a ReplicaSet asks for.
//
// It owns the pods that a ReplicaSet controls (creating, deleting, adopting,
// releasing) and the ReplicaSet's status. It never creates more than is missing
// and never acts before its cache shows what it did last.
package replicaset
