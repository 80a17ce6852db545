// Package oci is the OCI runtime of a node: the command line that the shim
// calls (create, start, state, kill, delete, exec, ps, events, update, pause,
// resume, features), thin over libcontainer.
//
// It speaks what go-runc speaks: global flags before the command, errors both on
// standard error and as the last line of the JSON log, a pid file written before
// create or exec returns. Containers are always detached: their standard streams
// are those of the caller or a console socket, and no process of ours stays
// behind. It never waits for a container to end and never reaps one: that is the
// shim's.
package oci
