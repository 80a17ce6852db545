// Package garbagecollector deletes objects whose owners are gone.
//
// It keeps a graph of who owns whom over every kind that can be deleted, custom
// ones included, holding of each object its names and its owners only. The cache
// feeds the graph with what it has anyway, watches of metadata with the rest; no
// object is kept beside it. An owner that is named but was not seen yet is in the
// graph as a virtual node until it is seen, or until the API server says that it
// does not exist.
//
//	background: the owner goes, its dependents follow
//	foreground: the owner waits (finalizer foregroundDeletion) until dependents
//	            that block it are gone
//	orphan:     the owner waits (finalizer orphan) until its dependents have
//	            forgotten it
//
// It promises to delete an object only after the API server itself said, at that
// moment, that none of its owners exists, and only the object of that uid.
package garbagecollector
