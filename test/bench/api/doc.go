// Package api measures the API server of a server without agent, in a process
// of its own, by clients over TLS as any cluster has them: start, memory, idle
// CPU, writes and reads, lists of many pods, watches of many watchers, and what
// a greedy client does to a modest one.
//
// Clients and server share the machine's cores, so that every rate comes with
// the server's own CPU time for one of it, which other load changes little. It
// compares and never judges.
package api
