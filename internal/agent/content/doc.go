// Package content reads, for one node, the objects that its pods refer to:
// ConfigMaps and Secrets, service accounts' tokens, and the volumes behind
// claims.
//
// Each ConfigMap and Secret that a registered pod refers to is watched by name,
// as a node may, and kept while a pod needs it; the first read is a GET of its
// own and waits for no watch. When the content of an object changes, or it
// appears, every pod that refers to it is told. Immutable objects are read once.
// An object that no registered pod refers to is read anew each time.
//
// All watches belong to Run and end with it. What the Store answers is
// read-only.
package content
