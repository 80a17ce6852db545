// Package sandbox holds pods together: for each a tiny process that keeps its
// namespaces, a cgroup for it, and the files that all its containers share (hosts,
// host name, resolver, shared memory). It is the sandbox controller that containerd's
// CRI calls, in place of the stock one that runs a container with a shim for this.
//
// What a sandbox is lies in one directory below Options.Dir, with a record of its
// process. Whatever moment the runtime is killed at, the next one finds the sandboxes
// that were whole and ends the halves of others. The package never runs containers
// and never touches the network: the namespace it is given has its links already.
package sandbox
