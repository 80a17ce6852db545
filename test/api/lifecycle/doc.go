// Package lifecycle takes objects of many kinds through what any client may do with
// them: create, read, list, watch, patch, replace, write the status, delete one and
// delete many. What is special about a kind is tested elsewhere.
package lifecycle
